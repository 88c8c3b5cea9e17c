//! A folder as Kubernetes mounts a Secret: every name is a link through one link, which is exchanged.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use chronos_tests::authority::{Authority, Signed};

/// A mounted Secret.
pub struct Secret {
    folder: TempDir,
    version: AtomicU32,
}

impl Secret {
    /// Holds a certificate, its key, and who signs the other side's.
    pub fn new(signed: &Signed, ca: &Authority) -> Self {
        let secret = Self {
            folder: tempfile::tempdir().unwrap(),
            version: AtomicU32::new(0),
        };
        secret.put(&signed.certificate, &signed.key, &ca.pem());
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), secret.folder.path().join(name)).unwrap();
        }
        secret
    }

    /// Exchanges all files at one instant.
    pub fn put(&self, certificate: &str, key: &str, ca: &str) {
        let version = format!("..{}", self.version.fetch_add(1, Ordering::Relaxed));
        let folder = self.folder.path().join(&version);
        fs::create_dir(&folder).unwrap();
        for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)] {
            fs::write(folder.join(name), text).unwrap();
        }
        let link = self.folder.path().join("..data_tmp");
        symlink(&version, &link).unwrap();
        fs::rename(link, self.folder.path().join("..data")).unwrap();
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}
