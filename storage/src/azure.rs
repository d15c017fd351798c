//! How to reach one container of Azure Blob Storage: decides account, endpoint and identity from the options, then builds
//! the client.

use object_store::azure::{AzureAccessKey, AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use crate::azure_connection::{self, Connection};
use crate::client::{client_options, flag, not_built, retry_config};
use crate::place::{AZURE_PUBLIC_DOMAIN, AzureAccount, Place, normal_endpoint};
use crate::{Location, StorageError, StorageOptions};

/// What one client needs. Not `Debug`: it holds secrets.
pub(crate) struct AzureSettings {
    account: String,
    endpoint: String,
    identity: Identity,
}

/// Who we are to the store.
#[derive(PartialEq, Eq)]
enum Identity {
    /// Requests carry no credentials: a public container.
    Anonymous,
    /// The account's key.
    Key(String),
    /// A shared access signature.
    Sas(String),
    /// A pod, as Kubernetes knows it.
    Workload { tenant: String, client: String, token_file: String },
    /// A service principal.
    ClientSecret { tenant: String, client: String, secret: String },
    /// Who is logged in to the command `az`.
    Cli,
    /// What the machine is; the id chooses among several.
    Managed { client: Option<String> },
}

/// A setting, and the other names that tools give it; the first that is set counts.
type Names = &'static [&'static str];

const ACCOUNT: Names = &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
const KEY: Names = &["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"];
const SAS: Names = &["AZURE_STORAGE_SAS_TOKEN"];
const TENANT: Names = &["AZURE_TENANT_ID", "AZURE_STORAGE_TENANT_ID"];
const CLIENT: Names = &["AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID"];
const SECRET: Names = &["AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"];
const ENDPOINT: &str = "AZURE_STORAGE_SERVICE_ENDPOINT";

/// A value and the name of the setting that has it.
type Given = (&'static str, String);

fn first(options: &StorageOptions, names: Names) -> Option<Given> {
    names.iter().find_map(|name| options.setting(name).map(|value| (*name, value.to_owned())))
}

impl AzureSettings {
    /// Decides for the container of `location`. Pure: reads the options only.
    ///
    /// Account: the location's own, the connection string's, `AZURE_STORAGE_ACCOUNT_NAME`. Identity: the account's key, a
    /// shared access signature, a workload identity, a service principal, `az`, the machine's.
    pub(crate) fn decide(location: &Location, options: &StorageOptions) -> Result<Self, StorageError> {
        let connection = match options.setting(azure_connection::NAME) {
            Some(text) => Connection::parse(text)?,
            None => Connection::default(),
        };
        let of_connection =
            |value: &Option<String>| value.clone().map(|value| (azure_connection::NAME, value));
        let configured = of_connection(&connection.account).or_else(|| first(options, ACCOUNT));
        let own = match location.place() {
            Place::Azure { account, .. } => account.clone(),
            Place::Local | Place::S3 { .. } | Place::Google { .. } => None,
        };
        let Some(account) =
            own.as_ref().map(|own| own.name.clone()).or(configured.clone().map(|(_, name)| name))
        else {
            return Err(StorageError::InvalidSetting {
                setting: "`AZURE_STORAGE_ACCOUNT_NAME`".to_owned(),
                reason: format!(
                    "it is not set, and `{location}` names no account, as \
                     `abfss://container@account.dfs.core.windows.net/…` does"
                ),
            });
        };
        // Endpoint, key and signature belong to the account that settings name, if they name one.
        let is_configured = configured.as_ref().is_none_or(|(_, name)| *name == account);
        let overridden = match is_configured {
            true => Self::endpoint(&connection, options)?,
            false => None,
        };
        let key = of_connection(&connection.key).or_else(|| first(options, KEY));
        let sas = of_connection(&connection.sas).or_else(|| first(options, SAS));
        let identity = match Self::identity_of_account(key.clone(), sas.clone(), options)?
            .filter(|found| is_configured || *found == Identity::Anonymous)
        {
            Some(found) => found,
            None => match Self::identity_of_tenant(options)? {
                Some(found) => found,
                None => {
                    if let (false, Some((setting, _)), Some((_, other))) =
                        (is_configured, key.or(sas), configured)
                    {
                        return Err(StorageError::InvalidSetting {
                            setting: format!("`{setting}`"),
                            reason: format!(
                                "it is for account `{other}`, and `{location}` is in account `{account}`"
                            ),
                        });
                    }
                    // Behind an own endpoint there is hardly a machine of Azure's: asking for its identity would hang.
                    if overridden.is_some() {
                        let looked_in = "the environment".to_owned();
                        return Err(StorageError::NoCredentials { location: location.clone(), looked_in });
                    }
                    Identity::Managed { client: first(options, CLIENT).map(|(_, client)| client) }
                }
            },
        };
        let endpoint = overridden.unwrap_or_else(|| {
            let domain = own.map(|own| own.domain).or(connection.domain);
            let domain = domain.unwrap_or_else(|| AZURE_PUBLIC_DOMAIN.to_owned());
            let endpoint = AzureAccount { name: account.clone(), domain }.endpoint();
            match connection.protocol.as_deref() {
                Some("http") if is_configured => endpoint.replacen("https://", "http://", 1),
                _ => endpoint,
            }
        });
        Ok(Self { account, endpoint, identity })
    }

    /// The endpoint that settings ask for.
    fn endpoint(connection: &Connection, options: &StorageOptions) -> Result<Option<String>, StorageError> {
        let of_connection = connection.blob_endpoint.as_deref().map(|given| (azure_connection::NAME, given));
        let Some((name, given)) =
            of_connection.or_else(|| options.setting(ENDPOINT).map(|given| (ENDPOINT, given)))
        else {
            return Ok(None);
        };
        let invalid = |reason| StorageError::InvalidSetting { setting: format!("`{name}`"), reason };
        normal_endpoint(given).map(Some).map_err(invalid)
    }

    /// What is known of the account alone.
    fn identity_of_account(
        key: Option<Given>,
        sas: Option<Given>,
        options: &StorageOptions,
    ) -> Result<Option<Identity>, StorageError> {
        let invalid = |setting: &str, reason: &str| StorageError::InvalidSetting {
            setting: format!("`{setting}`"),
            reason: reason.to_owned(),
        };
        if flag(options, "AZURE_SKIP_SIGNATURE")? {
            return Ok(Some(Identity::Anonymous));
        }
        if let Some((setting, key)) = key {
            // The client's own message would show a letter of it.
            return match AzureAccessKey::try_new(&key) {
                Ok(_) => Ok(Some(Identity::Key(key))),
                Err(_) => Err(invalid(setting, "it is not base64")),
            };
        }
        if let Some((setting, sas)) = sas {
            let pairs = sas.trim_start_matches('?').split('&');
            return match pairs.filter(|pair| !pair.trim().is_empty()).all(|pair| pair.contains('=')) {
                true => Ok(Some(Identity::Sas(sas))),
                false => Err(invalid(setting, "it is no list of `name=value`, joined by `&`")),
            };
        }
        Ok(None)
    }

    /// Who we are in a directory, whatever the account.
    fn identity_of_tenant(options: &StorageOptions) -> Result<Option<Identity>, StorageError> {
        let value = |names| first(options, names).map(|(_, value)| value);
        if let (Some(tenant), Some(client)) = (value(TENANT), value(CLIENT)) {
            if let Some(token_file) = options.setting("AZURE_FEDERATED_TOKEN_FILE") {
                return Ok(Some(Identity::Workload { tenant, client, token_file: token_file.to_owned() }));
            }
            if let Some(secret) = value(SECRET) {
                return Ok(Some(Identity::ClientSecret { tenant, client, secret }));
            }
        }
        const CHOICE: &str = "AZURE_TOKEN_CREDENTIALS";
        match options.setting(CHOICE).map(str::to_ascii_lowercase).as_deref() {
            None
            | Some(
                "prod" | "managedidentitycredential" | "environmentcredential" | "workloadidentitycredential",
            ) => Ok(None),
            Some("dev" | "azureclicredential") => Ok(Some(Identity::Cli)),
            Some(other) => Err(StorageError::InvalidSetting {
                setting: format!("`{CHOICE}`"),
                reason: format!(
                    "it is `{other}`, allowed are `AzureCliCredential`, `ManagedIdentityCredential`, `dev`, `prod`"
                ),
            }),
        }
    }

    /// Builds the client for `container`.
    pub(crate) fn build(
        self,
        container: &str,
        options: &StorageOptions,
    ) -> Result<MicrosoftAzure, StorageError> {
        let allow_http = self.endpoint.starts_with("http://");
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(self.account)
            .with_container_name(container)
            .with_endpoint(self.endpoint)
            .with_allow_http(allow_http)
            .with_client_options(client_options(options, allow_http))
            .with_retry(retry_config(options));
        if let Some(host) = options.setting("AZURE_AUTHORITY_HOST") {
            builder = builder.with_authority_host(host.trim_end_matches('/'));
        }
        builder = match self.identity {
            Identity::Anonymous => builder.with_skip_signature(true),
            Identity::Key(key) => builder.with_access_key(key),
            Identity::Sas(sas) => builder.with_config(AzureConfigKey::SasKey, sas),
            Identity::Workload { tenant, client, token_file } => {
                builder.with_tenant_id(tenant).with_client_id(client).with_federated_token_file(token_file)
            }
            Identity::ClientSecret { tenant, client, secret } => {
                builder.with_tenant_id(tenant).with_client_id(client).with_client_secret(secret)
            }
            Identity::Cli => builder.with_use_azure_cli(true),
            Identity::Managed { client: Some(client) } => builder.with_client_id(client),
            Identity::Managed { client: None } => builder,
        };
        builder.build().map_err(not_built(container))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backsight_proto::ErrorCode;

    use super::{AzureSettings, Identity};
    use crate::{Location, StorageError, StorageOptions};

    const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT_NAME", "acc");
    const KEY: (&str, &str) = ("AZURE_STORAGE_KEY", "aHVzaA==");
    const TENANT: [(&str, &str); 3] =
        [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hush")];

    fn decide(place: &str, environment: &[(&str, &str)]) -> Result<AzureSettings, StorageError> {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = StorageOptions { environment, ..StorageOptions::default() };
        AzureSettings::decide(&Location::parse(place, Path::new("/"), None).unwrap(), &options)
    }

    #[test]
    fn account_and_endpoint_come_from_location_and_settings() {
        let own = "abfss://c@own.dfs.core.usgovcloudapi.net/k";
        let emulator = ("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true");
        // Location and environment; account and endpoint.
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
        let table: [Case<'_>; 7] = [
            ("az://c/k", &[ACCOUNT, KEY], "acc", "https://acc.blob.core.windows.net"),
            (own, &[KEY], "own", "https://own.blob.core.usgovcloudapi.net"),
            ("az://c/k", &[emulator], "devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1"),
            (
                "abfss://c@devstoreaccount1.dfs.core.windows.net/k",
                &[emulator],
                "devstoreaccount1",
                "http://127.0.0.1:10000/devstoreaccount1",
            ),
            (
                "az://c/k",
                &[ACCOUNT, KEY, ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://h:1/acc/")],
                "acc",
                "http://h:1/acc",
            ),
            (
                "az://c/k",
                &[(
                    "AZURE_STORAGE_CONNECTION_STRING",
                    "AccountName=a;AccountKey=aA==;EndpointSuffix=core.chinacloudapi.cn",
                )],
                "a",
                "https://a.blob.core.chinacloudapi.cn",
            ),
            // The endpoint is the configured account's, and the tenant's token goes to Azure's host for the other one.
            (
                own,
                &[
                    ACCOUNT,
                    KEY,
                    TENANT[0],
                    TENANT[1],
                    TENANT[2],
                    ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://h:1"),
                ],
                "own",
                "https://own.blob.core.usgovcloudapi.net",
            ),
        ];
        for (place, environment, account, endpoint) in table {
            let settings = decide(place, environment).unwrap();
            assert_eq!(
                (settings.account.as_str(), settings.endpoint.as_str()),
                (account, endpoint),
                "{place}"
            );
        }
    }

    #[test]
    fn who_we_are_is_looked_for_in_order() {
        let sas = ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=x%3D");
        let federated = ("AZURE_FEDERATED_TOKEN_FILE", "/token");
        let identity = |environment: &[(&str, &str)]| decide("az://c/k", environment).unwrap().identity;
        assert!(identity(&[ACCOUNT, sas, KEY, TENANT[0]]) == Identity::Key(KEY.1.to_owned()));
        assert!(identity(&[ACCOUNT, sas, TENANT[0]]) == Identity::Sas(sas.1.to_owned()));
        let workload = identity(&[ACCOUNT, TENANT[0], TENANT[1], TENANT[2], federated]);
        assert!(matches!(workload, Identity::Workload { .. }));
        let principal = identity(&[ACCOUNT, TENANT[0], TENANT[1], TENANT[2]]);
        assert!(matches!(principal, Identity::ClientSecret { .. }));
        assert!(identity(&[ACCOUNT, ("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")]) == Identity::Cli);
        assert!(identity(&[ACCOUNT, TENANT[1]]) == Identity::Managed { client: Some("c".to_owned()) });
        assert!(identity(&[ACCOUNT, KEY, ("AZURE_SKIP_SIGNATURE", "true")]) == Identity::Anonymous);
    }

    #[test]
    fn a_key_never_goes_to_another_account() {
        let own = "abfss://c@own.dfs.core.windows.net/k";
        let error = decide(own, &[ACCOUNT, KEY]).err().unwrap();
        assert_eq!(error.code(), ErrorCode::Usage);
        assert!(error.to_string().contains("it is for account `acc`"), "{error}");
        let principal = decide(own, &[ACCOUNT, KEY, TENANT[0], TENANT[1], TENANT[2]]).unwrap();
        assert!(matches!(principal.identity, Identity::ClientSecret { .. }));
        assert!(
            decide(own, &[KEY]).unwrap().identity == Identity::Key(KEY.1.to_owned()),
            "no other is named"
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_not_shown() {
        let table: [(&[(&str, &str)], &str); 6] = [
            (&[KEY], "`AZURE_STORAGE_ACCOUNT_NAME`"),
            (&[ACCOUNT, ("AZURE_STORAGE_ACCOUNT_KEY", "hush!")], "`AZURE_STORAGE_ACCOUNT_KEY`"),
            (&[ACCOUNT, ("AZURE_STORAGE_SAS_TOKEN", "hush")], "`AZURE_STORAGE_SAS_TOKEN`"),
            (&[("AZURE_STORAGE_CONNECTION_STRING", "hush")], "`AZURE_STORAGE_CONNECTION_STRING`"),
            (
                &[ACCOUNT, KEY, ("AZURE_STORAGE_SERVICE_ENDPOINT", "https://h/?sig=hush")],
                "`AZURE_STORAGE_SERVICE_ENDPOINT`",
            ),
            (&[ACCOUNT, ("AZURE_TOKEN_CREDENTIALS", "odd")], "`AZURE_TOKEN_CREDENTIALS`"),
        ];
        for (environment, setting) in table {
            let error = decide("az://c/k", environment).err().unwrap();
            assert!(error.to_string().contains(setting), "{error}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
        let alone = [ACCOUNT, ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://h:1")];
        let error = decide("az://c/k", &alone).err().unwrap();
        assert_eq!(error.code(), ErrorCode::AccessDenied);
        assert!(error.hint().unwrap().contains("AZURE_STORAGE_CONNECTION_STRING"), "{error:?}");
    }
}
