//! The connection string of an Azure storage account, as the portal shows it.

use crate::StorageError;

/// What a connection string says. Not `Debug`: it holds secrets.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) account: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) sas: Option<String>,
    pub(crate) blob_endpoint: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) domain: Option<String>,
}

/// The setting that holds it.
pub(crate) const NAME: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// The account of the emulator Azurite, and its key, which everybody knows.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

impl Connection {
    /// Reads `AccountName=…;AccountKey=…;…`; parts that do not concern blobs are passed over.
    pub(crate) fn parse(text: &str) -> Result<Self, StorageError> {
        // The text is not repeated in messages.
        let invalid = |reason: String| StorageError::InvalidSetting { setting: format!("`{NAME}`"), reason };
        let mut connection = Self::default();
        for (number, part) in text.split(';').enumerate().filter(|(_, part)| !part.trim().is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(invalid(format!("its part {} is no `Name=value`", number + 1)));
            };
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => connection.account = value,
                "accountkey" => connection.key = value,
                "sharedaccesssignature" => connection.sas = value,
                "blobendpoint" => connection.blob_endpoint = value,
                "defaultendpointsprotocol" => connection.protocol = value,
                "endpointsuffix" => connection.domain = value,
                "usedevelopmentstorage"
                    if value.as_deref().is_some_and(|v| v.eq_ignore_ascii_case("true")) =>
                {
                    connection.account = Some(EMULATOR_ACCOUNT.to_owned());
                    connection.key = Some(EMULATOR_KEY.to_owned());
                    connection.blob_endpoint = Some(EMULATOR_ENDPOINT.to_owned());
                }
                _ => {}
            }
        }
        if connection == Self::default() {
            return Err(invalid("it names neither an account nor an endpoint".to_owned()));
        }
        if connection.account.is_none() {
            connection.account = connection.blob_endpoint.as_deref().and_then(account_of_endpoint);
        }
        Ok(connection)
    }
}

/// The account that `https://account.blob.…` is for.
fn account_of_endpoint(endpoint: &str) -> Option<String> {
    let (_, rest) = endpoint.split_once("://")?;
    let host = rest.split('/').next()?;
    let (account, _) = host.split_once(".blob.")?;
    Some(account.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Connection;

    #[test]
    fn the_forms_of_the_portal_are_read() {
        let key = Connection::parse(
            "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a+b/c==;EndpointSuffix=core.windows.net",
        )
        .unwrap();
        assert_eq!((key.account.as_deref(), key.key.as_deref()), (Some("acc"), Some("a+b/c==")));
        assert_eq!(
            (key.protocol.as_deref(), key.domain.as_deref()),
            (Some("https"), Some("core.windows.net"))
        );
        let sas =
            "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D; ;Odd=x";
        let sas = Connection::parse(sas).unwrap();
        assert_eq!((sas.account.as_deref(), sas.sas.as_deref()), (Some("acc"), Some("sv=1&sig=a%3D")));
        let emulator = Connection::parse("UseDevelopmentStorage=true").unwrap();
        assert_eq!(emulator.account.as_deref(), Some("devstoreaccount1"));
        assert_eq!(emulator.blob_endpoint.as_deref(), Some("http://127.0.0.1:10000/devstoreaccount1"));
    }

    #[test]
    fn what_is_none_is_refused_and_not_shown() {
        for text in ["hush", "AccountName=a;hush", "Odd=hush", ";"] {
            let error = Connection::parse(text).err().unwrap();
            assert!(error.to_string().contains("`AZURE_STORAGE_CONNECTION_STRING`"), "{error}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }
}
