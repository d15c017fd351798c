//! The settings that this room reads, named as the clouds' own tools name them, and which of them may be shown.

/// One setting that comes from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageVariable {
    /// `AWS_REGION`.
    pub name: &'static str,
    /// What it decides, as one line.
    pub meaning: &'static str,
    /// Whether its value may stand in output and logs.
    pub is_shown: bool,
}

const fn shown(name: &'static str, meaning: &'static str) -> StorageVariable {
    StorageVariable { name, meaning, is_shown: true }
}

const fn hidden(name: &'static str, meaning: &'static str) -> StorageVariable {
    StorageVariable { name, meaning, is_shown: false }
}

/// All of them. Any other that is given is ignored, and never shown.
pub const VARIABLES: [StorageVariable; 51] = [
    hidden("AWS_ACCESS_KEY_ID", "Access key; needs the secret key beside it"),
    hidden("AWS_SECRET_ACCESS_KEY", "Secret key"),
    hidden("AWS_SESSION_TOKEN", "Token of keys that are valid for a time"),
    shown("AWS_SKIP_SIGNATURE", "`true`: requests are not signed, for public buckets"),
    shown("AWS_PROFILE", "Profile of the usual files; unset: `default`"),
    shown("AWS_DEFAULT_PROFILE", "The same, where `AWS_PROFILE` is not set"),
    shown("AWS_SHARED_CREDENTIALS_FILE", "File of credentials; unset: `~/.aws/credentials`"),
    shown("AWS_CONFIG_FILE", "File of profiles; unset: `~/.aws/config`"),
    shown("AWS_REGION", "Region, after `backsight.s3.region`; unset: the profile's, else `us-east-1`"),
    shown("AWS_DEFAULT_REGION", "The same, where `AWS_REGION` is not set"),
    shown("AWS_ENDPOINT_URL_S3", "Endpoint of S3, after `backsight.s3.endpoint`"),
    shown("AWS_ENDPOINT_URL", "The same, where `AWS_ENDPOINT_URL_S3` is not set"),
    shown("AWS_ALLOW_HTTP", "`true`: plain HTTP may be used"),
    shown("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "Whether the bucket is part of the host name, after the file"),
    shown("AWS_CA_BUNDLE", "File with certificates of authorities to trust"),
    hidden("AWS_WEB_IDENTITY_TOKEN_FILE", "File with a web identity's token, as Kubernetes gives it"),
    hidden("AWS_ROLE_ARN", "Role that the web identity takes"),
    hidden("AWS_ROLE_SESSION_NAME", "Name of that session"),
    hidden("AWS_ENDPOINT_URL_STS", "Endpoint that gives credentials to a web identity"),
    hidden("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "Where a container of ECS gets credentials"),
    hidden("AWS_CONTAINER_CREDENTIALS_FULL_URI", "Where a pod of EKS gets credentials"),
    hidden("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "File with the token to get them"),
    shown(
        "AWS_EC2_METADATA_DISABLED",
        "`true`: credentials are not looked for at the machine's metadata service",
    ),
    hidden("AWS_SERVER_SIDE_ENCRYPTION", "Encryption of what is written, as `aws:kms`"),
    hidden("AWS_SSE_KMS_KEY_ID", "Key of that encryption"),
    hidden("AWS_SSE_BUCKET_KEY_ENABLED", "Whether that encryption uses a key of the bucket"),
    hidden("AWS_REQUEST_PAYER", "`true`: who requests pays"),
    hidden("AWS_UNSIGNED_PAYLOAD", "`true`: bodies of requests are not signed"),
    hidden("AWS_CHECKSUM_ALGORITHM", "Checksum of what is written, as `SHA256`"),
    shown(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "File of a service account's key or a user's login; unset: gcloud's, else the machine's identity",
    ),
    shown("CLOUDSDK_CONFIG", "Folder of gcloud and its application-default login; unset: `~/.config/gcloud`"),
    shown("NO_GCE_CHECK", "`true`: credentials are not looked for at Google's metadata service"),
    shown("GOOGLE_SKIP_SIGNATURE", "`true`: requests carry no credentials, for public buckets of Google"),
    shown("STORAGE_EMULATOR_HOST", "Endpoint of an emulator of Google Cloud Storage; it gets no credentials"),
    hidden(
        "AZURE_STORAGE_CONNECTION_STRING",
        "Account, key or signature, and endpoint in one text, as the portal shows it",
    ),
    shown(
        "AZURE_STORAGE_ACCOUNT_NAME",
        "Storage account of locations that name none, after the connection string's",
    ),
    shown("AZURE_STORAGE_ACCOUNT", "The same, where `AZURE_STORAGE_ACCOUNT_NAME` is not set"),
    hidden("AZURE_STORAGE_ACCOUNT_KEY", "Key of that account"),
    hidden("AZURE_STORAGE_KEY", "The same, where `AZURE_STORAGE_ACCOUNT_KEY` is not set"),
    hidden("AZURE_STORAGE_SAS_TOKEN", "Shared access signature for that account"),
    shown(
        "AZURE_STORAGE_SERVICE_ENDPOINT",
        "Endpoint of that account's blobs, for emulators and private links",
    ),
    hidden("AZURE_TENANT_ID", "Directory of a service principal or workload identity"),
    hidden("AZURE_STORAGE_TENANT_ID", "The same, where `AZURE_TENANT_ID` is not set"),
    hidden("AZURE_CLIENT_ID", "Its id; alone: which identity of the machine is used"),
    hidden("AZURE_STORAGE_CLIENT_ID", "The same, where `AZURE_CLIENT_ID` is not set"),
    hidden("AZURE_CLIENT_SECRET", "Secret of a service principal"),
    hidden("AZURE_STORAGE_CLIENT_SECRET", "The same, where `AZURE_CLIENT_SECRET` is not set"),
    hidden("AZURE_FEDERATED_TOKEN_FILE", "File with a workload identity's token, as Kubernetes gives it"),
    shown("AZURE_AUTHORITY_HOST", "Who gives tokens; unset: `https://login.microsoftonline.com`"),
    shown(
        "AZURE_TOKEN_CREDENTIALS",
        "`AzureCliCredential`: the login of `az` is used; unset: the machine's identity",
    ),
    shown("AZURE_SKIP_SIGNATURE", "`true`: requests carry no credentials, for public containers of Azure"),
];

/// Whether this setting is one of them.
pub fn is_read(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name)
}

/// Whether a value of this setting may stand in output and logs.
pub fn is_shown(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name && variable.is_shown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::VARIABLES;

    /// How names of settings start.
    const FAMILIES: [&str; 6] = ["AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "CLOUDSDK_", "NO_GCE_"];

    /// Names of such settings in the code of this room, tests and this file left out.
    fn read_by_code() -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.ends_with("variables.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for family in FAMILIES {
                for piece in code.split(&format!("\"{family}")).skip(1) {
                    let name = piece.split('"').next().unwrap_or_default();
                    names.insert(format!("{family}{name}"));
                }
            }
        }
        names
    }

    #[test]
    fn what_is_read_is_in_the_table_and_nothing_else() {
        let known: BTreeSet<String> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
        assert_eq!(read_by_code(), known);
    }
}
