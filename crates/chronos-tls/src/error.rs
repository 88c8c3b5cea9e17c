//! Why certificates cannot be used.

/// One line that says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file is missing or closed to this process.
    #[error("cannot read the {what} {from}: {why}; check its path and who may read it")]
    Unreadable {
        /// Which of the files.
        what: &'static str,
        /// Where it should be.
        from: String,
        /// The system's words.
        why: String,
    },
    /// A file does not hold what it should.
    #[error(
        "the {what} {from} holds no {missing}; it has to be PEM, with a line -----BEGIN {label}-----"
    )]
    NoPem {
        /// Which of the files.
        what: &'static str,
        /// Where it is.
        from: String,
        /// What it should hold.
        missing: &'static str,
        /// How PEM names that.
        label: &'static str,
    },
    /// A file is PEM, but not wholly.
    #[error("the {what} {from} is damaged: {why}; write it again")]
    Damaged {
        /// Which of the files.
        what: &'static str,
        /// Where it is.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key {key} does not belong to the certificate {certificate}; give the two that were made together"
    )]
    Mismatch {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
    },
    /// The cryptography does not know such certificates or keys.
    #[error(
        "the certificate {certificate} with the key {key} cannot be used: {why}; make an ECDSA P-256 or an RSA key of 2048 bits or more"
    )]
    Unusable {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate came without its key, or a key without its certificate.
    #[error("a {given} is given without its {missing}; give both or neither")]
    Half {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Something that is needed was not given.
    #[error("no {0} is given")]
    Missing(&'static str),
    /// No authority of the file can be trusted.
    #[error(
        "the CA file {from} cannot be used: {why}; give the certificate of the authority that signs"
    )]
    NoAuthority {
        /// Where it is.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// The machine has no list of authorities.
    #[error("this machine has no list of trusted authorities ({0}); name the CA file")]
    NoSystemAuthorities(String),
    /// A name to check certificates against is none.
    #[error("{0:?} is no name of a server; give a DNS name or an IP address")]
    ServerName(String),
    /// rustls refuses what was put together.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}
