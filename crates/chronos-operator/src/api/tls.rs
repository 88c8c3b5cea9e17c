//! TLS of a cluster: which Secrets hold its certificates.

// Rules repeat words such as `validation`; the lint takes them for one attribute.
#![allow(clippy::duplicated_attributes)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// TLS of a cluster. A Secret that changes reaches running nodes without a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretName) || has(self.internalSecretName)").message("tls names no Secret: give secretName, internalSecretName or both"),
    validation = Rule::new("!(has(self.clientAuth) && self.clientAuth) || has(self.secretName)").message("clientAuth needs secretName: without TLS clients cannot show a certificate").field_path(".clientAuth")
)]
pub struct Tls {
    /// The Secret with what clients are shown: tls.crt and tls.key, as in the type kubernetes.io/tls, and
    /// ca.crt, the authority that signed them. The certificate has to name the Service for clients,
    /// `<cluster>-client.<namespace>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// Whether clients have to show a certificate that the authority in ca.crt signed. The operator shows the
    /// nodes' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<bool>,
    /// The Secret with what nodes show each other, of the same keys. Its authority must sign nothing but nodes
    /// of this cluster. To turn it on or off later, set hibernate first: nodes with and without it do not
    /// understand each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub internal_secret_name: Option<String>,
}
