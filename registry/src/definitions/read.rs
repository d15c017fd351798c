//! From documents to drafts: which kind a document is, and what projects, entities and sources say.

use std::path::Path;

use backsight_storage::{Location, OBJECT_STORE_SCHEMES, StorageError, holds_credentials};

use super::draft::{Common, Drafts, EntityDraft, FieldDraft, ProjectDraft, SourceDraft};
use super::read_views::{read_feature_service, read_feature_view, read_on_demand_view};
use crate::dtype::parse_dtype;
use crate::model::{Field, SourceKind, Tags, ValueType};
use crate::nearest::{did_you_mean, quoted_list};
use crate::problem::{Position, Problems};
use crate::yaml::{Keys, Node, Pair, Reader, Spanned, Value};

/// Every kind a document may have.
const KINDS: &[&str] = &[
    "Entity",
    "FileSource",
    "RequestSource",
    "FeatureView",
    "OnDemandFeatureView",
    "FeatureService",
    "Project",
];

/// Kinds that Feast has and definitions do not express.
const FOREIGN_KINDS: &[&str] = &[
    "AthenaSource",
    "BatchFeatureView",
    "BigQuerySource",
    "ClickhouseSource",
    "CouchbaseColumnarSource",
    "IcebergSource",
    "KafkaSource",
    "KinesisSource",
    "LabelView",
    "LanceSource",
    "MsSqlServerSource",
    "OracleSource",
    "Permission",
    "PostgreSQLSource",
    "PushSource",
    "RedshiftSource",
    "SavedDataset",
    "SnowflakeSource",
    "SparkSource",
    "StreamFeatureView",
    "TrinoSource",
    "ValidationReference",
];

/// The names of Feast's internal entity and its column.
const RESERVED_ENTITY: &str = "__dummy";
const RESERVED_JOIN_KEY: &str = "__dummy_id";

/// Reads one document into the drafts.
pub(super) fn read_document(document: &Node, drafts: &mut Drafts, problems: &mut Problems) {
    if document.is_null() {
        return;
    }
    let Value::Mapping(pairs) = &document.value else {
        let message =
            format!("a definition must be a mapping that starts with `kind`, got {}", document.describe());
        problems.push(&document.position, message);
        return;
    };
    let Some(kind) = pairs.iter().find(|pair| pair.key.text == "kind") else {
        let near =
            pairs.iter().find(|pair| crate::nearest::nearest("kind", [pair.key.text.as_str()]).is_some());
        let hint = match near {
            Some(pair) => format!("did you mean `kind` instead of `{}`?", pair.key.text),
            None => "a YAML file that holds no definitions can be listed in `.feastignore`".to_owned(),
        };
        let message =
            format!("the definition has no `kind`; allowed: {}", quoted_list(KINDS.iter().copied()));
        problems.push_hint(&document.position, message, hint);
        drafts.unread.extend(name_text(pairs));
        return;
    };
    let before = drafts.object_count();
    let place = &kind.value.position;
    match scalar_text(&kind.value) {
        Some("Entity") => drafts.entities.extend(read_entity(document, problems)),
        Some("FileSource") => drafts.sources.extend(read_file_source(document, problems)),
        Some("RequestSource") => drafts.sources.extend(read_request_source(document, problems)),
        Some("FeatureView") => drafts.views.extend(read_feature_view(document, problems)),
        Some("OnDemandFeatureView") => drafts.on_demand_views.extend(read_on_demand_view(document, problems)),
        Some("FeatureService") => drafts.services.extend(read_feature_service(document, problems)),
        Some("Project") => drafts.projects.extend(read_project(document, problems)),
        Some("Schedule") => problems.push(place, "kind `Schedule` is not supported yet"),
        Some(foreign) if FOREIGN_KINDS.contains(&foreign) => {
            let message = format!("kind `{foreign}` is not managed by definitions");
            problems.push_hint(
                place,
                message,
                "objects of this kind that the registry holds stay as they are",
            );
        }
        Some(other) => {
            let allowed = quoted_list(KINDS.iter().copied());
            let hint = did_you_mean(other, KINDS.iter().chain(FOREIGN_KINDS).copied()).unwrap_or_else(|| {
                "a YAML file that holds no definitions can be listed in `.feastignore`".to_owned()
            });
            problems.push_hint(place, format!("unknown kind `{other}`; allowed: {allowed}"), hint);
        }
        None => {
            let allowed = quoted_list(KINDS.iter().copied());
            problems.push(place, format!("`kind` must be one of {allowed}, got {}", kind.value.describe()));
        }
    }
    if drafts.object_count() == before {
        drafts.unread.extend(name_text(pairs));
    }
}

fn name_text(pairs: &[Pair]) -> Option<String> {
    let name = pairs.iter().find(|pair| pair.key.text == "name")?;
    scalar_text(&name.value).map(str::to_owned)
}

impl Drafts {
    /// How many objects there are.
    pub(super) fn object_count(&self) -> usize {
        self.projects.len()
            + self.entities.len()
            + self.sources.len()
            + self.views.len()
            + self.on_demand_views.len()
            + self.services.len()
    }
}

fn scalar_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) if !node.is_null() => Some(&scalar.text),
        _ => None,
    }
}

/// Opens a document under its kind and name.
pub(super) fn open<'a>(
    document: &'a Node,
    kind: &str,
    keys: &Keys,
    problems: &mut Problems,
) -> Option<Reader<'a>> {
    let name = match &document.value {
        Value::Mapping(pairs) => name_text(pairs),
        _ => None,
    };
    let what = name.map_or_else(|| format!("this {kind}"), |name| format!("{kind} `{name}`"));
    Reader::open(document, what, keys, problems)
}

/// Description, tags and owner.
pub(super) fn read_common(reader: &Reader<'_>, problems: &mut Problems) -> Common {
    let mut optional = |key| reader.text(key, problems).map(|text| text.value).unwrap_or_default();
    let (description, owner) = (optional("description"), optional("owner"));
    Common { description, tags: read_tags(reader, problems), owner }
}

fn read_tags(reader: &Reader<'_>, problems: &mut Problems) -> Tags {
    reader.text_pairs("tags", problems).into_iter().map(|(key, value)| (key.value, value.value)).collect()
}

fn read_project(document: &Node, problems: &mut Problems) -> Option<ProjectDraft> {
    let keys = Keys { allowed: &["kind", "name", "description", "tags", "owner"], refused: &[] };
    let reader = open(document, "Project", &keys, problems)?;
    let name = reader.required_text("name", problems);
    let common = read_common(&reader, problems);
    Some(ProjectDraft { name: name?, common })
}

fn read_entity(document: &Node, problems: &mut Problems) -> Option<EntityDraft> {
    let keys = Keys {
        allowed: &["kind", "name", "join_keys", "value_type", "description", "tags", "owner"],
        refused: &[("join_key", "write `join_keys: [column]`")],
    };
    let reader = open(document, "Entity", &keys, problems)?;
    let name = reader.required_text("name", problems);
    let join_key = read_join_key(&reader, problems);
    let before = problems.count();
    let value_type = read_value_type(&reader, problems);
    let type_is_broken = problems.count() > before;
    let common = read_common(&reader, problems);
    let name = name?;
    if name.value == RESERVED_ENTITY {
        let message = format!("`{RESERVED_ENTITY}` is the name of Feast's internal entity");
        problems.push(&name.position, message);
        return None;
    }
    let join_key = join_key.unwrap_or_else(|| name.clone());
    if join_key.value == RESERVED_JOIN_KEY {
        let message = format!("`{RESERVED_JOIN_KEY}` is the join key of Feast's internal entity");
        problems.push(&join_key.position, message);
    }
    Some(EntityDraft { name, join_key, value_type, type_is_broken, common })
}

fn read_join_key(reader: &Reader<'_>, problems: &mut Problems) -> Option<Spanned<String>> {
    let mut keys = reader.texts("join_keys", problems)?;
    if keys.len() > 1 {
        let message = format!("{} has {} join keys; an entity has one", reader.what, keys.len());
        problems.push_hint(
            &keys[1].position,
            message,
            "define one entity for each column and list them all under `entities` of the feature view",
        );
    }
    keys.truncate(1);
    let key = keys.pop()?;
    if key.value.trim().is_empty() {
        problems.push(&key.position, format!("the join key of {} must not be empty", reader.what));
        return None;
    }
    Some(key)
}

fn read_value_type(reader: &Reader<'_>, problems: &mut Problems) -> Option<Spanned<ValueType>> {
    let text = reader.text("value_type", problems)?;
    match parse_dtype(&text.value) {
        Ok(dtype) => Some(Spanned { value: dtype.value_type, position: text.position }),
        Err(error) => {
            let message = format!("`value_type` of {}: {}", reader.what, error.message);
            problems.add(&text.position, message, error.hint);
            None
        }
    }
}

fn read_file_source(document: &Node, problems: &mut Problems) -> Option<SourceDraft> {
    let keys = Keys {
        allowed: &[
            "kind",
            "name",
            "path",
            "timestamp_field",
            "created_timestamp_column",
            "date_partition_column",
            "field_mapping",
            "s3_endpoint_override",
            "file_format",
            "description",
            "tags",
            "owner",
        ],
        refused: &[
            ("event_timestamp_column", "write `timestamp_field`"),
            ("connection_ref", "credentials come from the environment"),
        ],
    };
    let reader = open(document, "FileSource", &keys, problems)?;
    let path = reader.required_text("path", problems);
    // As in Feast, a source without a name is called by its path.
    let name = reader.text("name", problems).or_else(|| path.clone());
    let timestamp_field = reader.required_text("timestamp_field", problems);
    let created_timestamp_column =
        reader.text("created_timestamp_column", problems).filter(|text| !text.value.is_empty());
    let date_partition_column =
        reader.text("date_partition_column", problems).filter(|text| !text.value.is_empty());
    let field_mapping = reader.text_pairs("field_mapping", problems);
    let s3_endpoint_override = read_endpoint(&reader, problems);
    let delta = read_file_format(&reader, problems);
    let common = read_common(&reader, problems);
    if let Some(path) = &path {
        check_path(path, problems);
        if delta && path.value.contains(['*', '?', '[', '{']) {
            let message = format!("`path` of {} is a pattern, and a Delta table is a folder", reader.what);
            problems.push_hint(&path.position, message, "name the folder that holds `_delta_log`");
        }
    }
    let path = path.map(|path| path.value).unwrap_or_default();
    Some(SourceDraft {
        name: name.filter(|name| not_empty(name, &reader.what, problems))?,
        kind: SourceKind::File { path, s3_endpoint_override, delta },
        timestamp_field,
        created_timestamp_column,
        date_partition_column,
        field_mapping,
        common,
    })
}

fn not_empty(name: &Spanned<String>, what: &str, problems: &mut Problems) -> bool {
    let empty = name.value.trim().is_empty();
    if empty {
        problems.push(&name.position, format!("`name` of {what} must not be empty"));
    }
    !empty
}

fn read_endpoint(reader: &Reader<'_>, problems: &mut Problems) -> Option<String> {
    let endpoint = reader.text("s3_endpoint_override", problems).filter(|text| !text.value.is_empty())?;
    if holds_no_credentials(&endpoint, problems)
        && !endpoint.value.starts_with("http://")
        && !endpoint.value.starts_with("https://")
    {
        let message = format!(
            "`s3_endpoint_override` of {} must start with `http://` or `https://`, got `{}`",
            reader.what, endpoint.value
        );
        problems.push_hint(&endpoint.position, message, "for example `http://127.0.0.1:9000`");
    }
    Some(endpoint.value)
}

/// Whether the source is a Delta table.
fn read_file_format(reader: &Reader<'_>, problems: &mut Problems) -> bool {
    let Some(format) = reader.text("file_format", problems) else { return false };
    match format.value.to_ascii_lowercase().as_str() {
        "parquet" | "parquetformat" => false,
        "delta" | "deltaformat" => true,
        _ => {
            let message = format!(
                "`file_format` of {} is `{}`; allowed: `parquet`, `delta`",
                reader.what, format.value
            );
            problems.push(&format.position, message);
            false
        }
    }
}

fn check_path(path: &Spanned<String>, problems: &mut Problems) {
    let Some((scheme, _)) = path.value.split_once("://") else { return };
    // The folder plays no part where there is a scheme.
    if !holds_no_credentials(path, problems) {
        return;
    }
    // What is wrong with it otherwise is said where it is read.
    if let Err(StorageError::UnknownScheme { .. }) = Location::parse(&path.value, Path::new("/"), None) {
        let message = format!(
            "path scheme `{scheme}://` is not supported; allowed: {OBJECT_STORE_SCHEMES}, `file://`, a path"
        );
        problems.push(&path.position, message);
    }
}

/// A URL with a user, a password or a signature would put a secret into the registry; the message does not repeat it.
fn holds_no_credentials(url: &Spanned<String>, problems: &mut Problems) -> bool {
    let holds = holds_credentials(&url.value);
    if holds {
        let message = "a URL in a definition must not hold a user or a password";
        problems.push_hint(&url.position, message, "credentials come from the environment");
    }
    !holds
}

fn read_request_source(document: &Node, problems: &mut Problems) -> Option<SourceDraft> {
    let keys = Keys { allowed: &["kind", "name", "schema", "description", "tags", "owner"], refused: &[] };
    let reader = open(document, "RequestSource", &keys, problems)?;
    let name = reader.required_text("name", problems);
    reader.require("schema", problems);
    let schema = read_schema(&reader, problems).unwrap_or_default();
    let common = read_common(&reader, problems);
    Some(SourceDraft {
        name: name?,
        kind: SourceKind::Request { schema: schema.into_iter().map(|draft| draft.field).collect() },
        timestamp_field: None,
        created_timestamp_column: None,
        date_partition_column: None,
        field_mapping: Vec::new(),
        common,
    })
}

/// The fields of `schema`; names are unique in what is returned.
pub(super) fn read_schema(reader: &Reader<'_>, problems: &mut Problems) -> Option<Vec<FieldDraft>> {
    let items = reader.list("schema", problems)?;
    let mut fields: Vec<FieldDraft> = Vec::new();
    for item in items {
        let Some(draft) = read_field(item, &reader.what, problems) else { continue };
        let name = &draft.field.name;
        match fields.iter().find(|other| other.field.name == *name) {
            Some(first) => {
                let message = format!(
                    "field `{name}` of {} is declared twice; it is already at {}",
                    reader.what, first.position
                );
                problems.push(&draft.position, message);
            }
            None => fields.push(draft),
        }
    }
    Some(fields)
}

fn read_field(node: &Node, owner: &str, problems: &mut Problems) -> Option<FieldDraft> {
    let keys = Keys {
        allowed: &["name", "dtype", "description", "tags"],
        refused: &[
            ("vector_index", "vector search belongs to the online store"),
            ("vector_length", "vector search belongs to the online store"),
            ("vector_search_metric", "vector search belongs to the online store"),
        ],
    };
    let reader = Reader::open(node, format!("a field of {owner}"), &keys, problems)?;
    let name = reader.required_text("name", problems);
    let dtype = reader.required_text("dtype", problems);
    let description = reader.text("description", problems).map(|text| text.value).unwrap_or_default();
    let mut tags = read_tags(&reader, problems);
    let name = name?;
    let mut value_type = ValueType(0);
    let mut type_is_broken = true;
    if let Some(dtype) = dtype {
        match parse_dtype(&dtype.value) {
            Ok(parsed) => {
                value_type = parsed.value_type;
                tags.extend(parsed.tags);
                type_is_broken = false;
            }
            Err(error) => {
                let message = format!("field `{}` of {owner}: {}", name.value, error.message);
                problems.add(&dtype.position, message, error.hint);
            }
        }
    }
    let position: Position = name.position;
    Some(FieldDraft {
        field: Field { name: name.value, value_type, description, tags },
        position,
        type_is_broken,
    })
}
