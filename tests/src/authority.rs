//! An authority that signs certificates, for tests of TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// An authority that nobody else knows.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Signed {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// The certificate as it is sent.
    pub der: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Another one each time.
    ///
    /// # Panics
    /// When there is no randomness for a key.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What others trust, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names and addresses, good until the year begins.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn sign_until(&self, names: &[&str], year: i32) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// A certificate for these names and addresses that does not end in a test's time.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Signed {
        self.sign_until(names, 2090)
    }
}
