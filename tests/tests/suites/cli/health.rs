//! What `chronosctl` says of a node that is not there, or is something else.

use chronos_tests::server::free_port;

use super::run;
use crate::serve;

#[tokio::test]
async fn a_port_that_is_not_of_grpc_is_not_well() {
    let (server, _client) = serve(&[]).await;
    let http = server.http_address();
    let output = run(&server, &["health", "--addr", &http, "--http", &http]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("does not speak gRPC"), "{said}");
    let output = run(&server, &["topic", "list", "--addr", &http]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&http), "{said}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named_with_the_cause() {
    let (server, _client) = serve(&[]).await;
    let nowhere = format!("127.0.0.1:{}", free_port());
    let output = run(&server, &["topic", "list", "--addr", &nowhere]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains(&nowhere) && said.contains("refused"),
        "{said}"
    );
    assert!(!said.contains("--tls"), "{said}");
}
