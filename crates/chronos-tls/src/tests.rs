//! What is refused, and with which words.

use super::*;
use chronos_tests::authority::Authority;
use std::fs;
use std::path::{Path, PathBuf};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

async fn refusal(certificate: &Path, key: &Path, ca: Option<&Path>) -> String {
    let mut options = ServerOptions::new(certificate, key);
    if let Some(ca) = ca {
        options = options.client_ca(ca);
    }
    let error = Server::load(options).err().unwrap().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn a_server_says_which_file_is_no_good_and_why() {
    let (folder, ca) = (Folder::new(), Authority::new());
    let (good, other) = (ca.sign(&["db"]), ca.sign(&["db"]));
    let certificate = folder.write("tls.crt", &good.certificate);
    let key = folder.write("tls.key", &good.key);
    let authority = folder.write("ca.crt", &ca.pem());
    Server::load(ServerOptions::new(&certificate, &key).client_ca(&authority)).unwrap();

    let missing = folder.0.path().join("none");
    let error = refusal(&missing, &key, None).await;
    assert!(
        error.contains("certificate file") && error.contains("none"),
        "{error}"
    );
    let error = refusal(&certificate, &missing, None).await;
    assert!(error.contains("key file"), "{error}");
    let error = refusal(&certificate, &key, Some(&missing)).await;
    assert!(error.contains("CA file"), "{error}");

    let no_pem = folder.write("text", "nothing of the kind");
    let error = refusal(&no_pem, &key, None).await;
    assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
    let error = refusal(&certificate, &no_pem, None).await;
    assert!(error.contains("BEGIN PRIVATE KEY"), "{error}");
    let error = refusal(&certificate, &key, Some(&no_pem)).await;
    assert!(error.contains("CA file"), "{error}");
    let cut = folder.write("cut", &good.certificate[..200]);
    let error = refusal(&cut, &key, None).await;
    assert!(error.contains("damaged"), "{error}");

    let others = folder.write("others.key", &other.key);
    let error = refusal(&certificate, &others, None).await;
    assert!(error.contains("does not belong"), "{error}");
}

#[tokio::test]
async fn a_client_says_what_is_missing() {
    let (folder, ca) = (Folder::new(), Authority::new());
    let authority = folder.write("ca.crt", &ca.pem());
    let certificate = folder.write("tls.crt", &ca.sign(&["me"]).certificate);
    let trusting = ClientOptions::new().ca_file(&authority);
    Client::load(trusting.clone()).unwrap();
    let error = Client::load(trusting.clone().certificate_file(&certificate));
    assert_eq!(
        error.err(),
        Some(Error::Half {
            given: "certificate",
            missing: "key"
        })
    );
    let error = Client::load(trusting.clone().server_name("a name"));
    assert_eq!(error.err(), Some(Error::ServerName("a name".to_owned())));
    let client = Client::load(trusting.ca_pem(ca.pem())).unwrap();
    for host in ["[::1]", "127.0.0.1", "db-0.db-nodes.shop.svc"] {
        assert!(client.expected(host).is_ok(), "{host}");
    }
    let keys = ClientOptions::new().identity_pem("c", "PRIVATE");
    assert!(!format!("{keys:?}").contains("PRIVATE"));
}
