//! Certificates from Secrets: clients and nodes speak TLS, and a renewal restarts nobody.

use chronos_tests::authority::{Authority, Signed};
use chronos_tests::client::{Client, event};
use chronos_tests::patience::within;
use chronos_tests::server::secured_channel;
use chronos_tls::ClientOptions;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use crate::first_event::fires;
use crate::stage::{CLUSTER, PATIENCE, Stage};

/// The Secret of the clients' side, and that of the nodes among themselves.
const CLIENTS: &str = "db-tls";
const NODES: &str = "db-nodes-tls";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: scripts/test-kubernetes-nodes"]
async fn renewed_certificates_are_served_by_nodes_that_run() {
    let stage = Stage::set("tls").await;
    let host = format!("{CLUSTER}-client.{}.svc", stage.namespace);
    let (old, of_nodes) = (Authority::new(), Authority::new());
    put(&stage, CLIENTS, &old, &old.sign(&[&host])).await;
    put(&stage, NODES, &of_nodes, &of_nodes.sign(&["a-node"])).await;
    let tls = json!({
        "secretName": CLIENTS,
        "clientAuth": true,
        "internalSecretName": NODES,
    });
    stage.create_cluster(json!({ "tls": tls })).await;
    stage.create_topic(json!({})).await;
    stage.ready().await;
    stage.topic_ready().await;
    let before = stage.uids::<Pod>().await;

    let address = stage.address().await;
    let trusting = |authority: &Authority| {
        let authority = authority.pem();
        ClientOptions::new().ca_pem(authority).server_name(&host)
    };
    let showing = |authority: &Authority| {
        let signed = authority.sign(&["a-client"]);
        trusting(authority).identity_pem(signed.certificate, signed.key)
    };
    fires(&client(&address, showing(&old)), "before").await;
    assert!(!accepts(&client(&address, trusting(&old))).await);

    let new = Authority::new();
    put(&stage, CLIENTS, &new, &new.sign(&[&host])).await;
    // Kubernetes brings the files to each node in its own time.
    for node in addresses(&stage).await {
        let renewed = within(PATIENCE, || async {
            let takes = accepts(&client(&node, showing(&new))).await;
            takes.then_some(())
        });
        renewed.await.expect("the new certificate is served");
    }
    fires(&client(&address, showing(&new)), "after").await;
    assert!(!accepts(&client(&address, showing(&old))).await);
    assert_eq!(stage.uids::<Pod>().await, before, "no pod was made anew");
    stage.strike().await;
}

/// Makes a Secret, or exchanges what it holds.
async fn put(stage: &Stage, name: &str, authority: &Authority, signed: &Signed) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name },
        "stringData": {
            "tls.crt": signed.certificate,
            "tls.key": signed.key,
            "ca.crt": authority.pem(),
        },
    });
    let whole = PatchParams::apply("scenario").force();
    let secrets = stage.api::<Secret>();
    secrets
        .patch(name, &whole, &Patch::Apply(&secret))
        .await
        .unwrap();
}

/// A client over a connection of its own.
fn client(address: &str, tls: ClientOptions) -> Client {
    Client::new(secured_channel(address, tls).unwrap())
}

/// Whether a node takes an event from this client.
async fn accepts(client: &Client) -> bool {
    let event = event(&chronos_client::unique_id(), "probes");
    let answer = timeout(PATIENCE, client.publish(event)).await.unwrap();
    answer.is_ok_and(|answer| answer.success)
}

/// Where each node listens for clients.
async fn addresses(stage: &Stage) -> Vec<String> {
    let pods = stage.api::<Pod>().list(&ListParams::default()).await;
    let ips = pods.unwrap().items.into_iter().map(|pod| {
        let status = pod.status.unwrap();
        format!("{}:9000", status.pod_ip.unwrap())
    });
    ips.collect()
}
