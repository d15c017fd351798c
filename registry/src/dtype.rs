//! Feast's types by name: what a definition may write and how a type is shown.

use crate::model::{Field, Tags, ValueType};
use crate::nearest::{did_you_mean, quoted_list};

/// The tag in which Feast keeps the fields of a `Struct`.
pub const STRUCT_SCHEMA_TAG: &str = "feast:struct_schema";
/// The tag in which Feast keeps the type of a nested collection.
pub const NESTED_TYPE_TAG: &str = "feast:nested_inner_type";

/// Nesting of `Array(Set(…))` that is read.
const DEPTH_MAX: usize = 16;

/// A base type under its three names and its wire number, with the numbers of its list and set where they exist.
struct Base {
    feast: &'static str,
    enumeration: &'static str,
    /// Name in Feast's stored text of nested types.
    stored: &'static str,
    number: i32,
    list: Option<i32>,
    set: Option<i32>,
}

const fn base(
    feast: &'static str,
    enumeration: &'static str,
    stored: &'static str,
    number: i32,
    list: Option<i32>,
    set: Option<i32>,
) -> Base {
    Base { feast, enumeration, stored, number, list, set }
}

const BASES: &[Base] = &[
    base("Bytes", "BYTES", "BYTES", 1, Some(11), Some(22)),
    base("String", "STRING", "STRING", 2, Some(12), Some(23)),
    base("Int32", "INT32", "INT32", 3, Some(13), Some(24)),
    base("Int64", "INT64", "INT64", 4, Some(14), Some(25)),
    base("Float32", "FLOAT", "FLOAT32", 6, Some(16), Some(27)),
    base("Float64", "DOUBLE", "FLOAT64", 5, Some(15), Some(26)),
    base("Bool", "BOOL", "BOOL", 7, Some(17), Some(28)),
    base("UnixTimestamp", "UNIX_TIMESTAMP", "UNIX_TIMESTAMP", 8, Some(18), Some(29)),
    base("Map", "MAP", "MAP", 20, Some(21), None),
    base("Json", "JSON", "JSON", 32, Some(33), None),
    base("Uuid", "UUID", "UUID", 36, Some(38), Some(40)),
    base("TimeUuid", "TIME_UUID", "TIME_UUID", 37, Some(39), Some(41)),
    base("Decimal", "DECIMAL", "DECIMAL", 44, Some(45), Some(46)),
    base("ScalarMap", "SCALAR_MAP", "SCALAR_MAP", 47, None, None),
    base("ZonedTimestamp", "ZONED_TIMESTAMP", "ZONED_TIMESTAMP", 48, None, None),
    base("PdfBytes", "PDF_BYTES", "PDF_BYTES", 30, None, None),
    base("ImageBytes", "IMAGE_BYTES", "IMAGE_BYTES", 31, None, None),
];

const STRUCT: i32 = 34;
const STRUCT_LIST: i32 = 35;
const VALUE_LIST: i32 = 42;
const VALUE_SET: i32 = 43;

/// A declared type: its wire number, and the tags in which Feast keeps what the number cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtype {
    /// Wire number.
    pub value_type: ValueType,
    /// `feast:…` tags of the field, for `Struct` and nested collections.
    pub tags: Tags,
}

/// Why a text is no type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtypeError {
    /// What is wrong, without the place.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

/// Reads a type as definitions write it: Feast's names (`Float32`, `Array(Int64)`, `Struct({a: Int64})`) or, as
/// Feast's own `value_type`, the names of the wire enum (`FLOAT`, `INT64_LIST`).
pub fn parse_dtype(text: &str) -> Result<Dtype, DtypeError> {
    let enumeration = text.strip_prefix("ValueType.").unwrap_or(text);
    if let Some(number) = number_of(enumeration) {
        return Ok(Dtype { value_type: ValueType(number), tags: Tags::new() });
    }
    let shape = Shape::parse(text.trim(), 0)?;
    let mut tags = Tags::new();
    match &shape {
        Shape::Struct(fields) => drop(tags.insert(STRUCT_SCHEMA_TAG.to_owned(), struct_schema(fields))),
        Shape::Array(inner) | Shape::Set(inner) => match inner.as_ref() {
            Shape::Struct(fields) => drop(tags.insert(STRUCT_SCHEMA_TAG.to_owned(), struct_schema(fields))),
            Shape::Array(_) | Shape::Set(_) => drop(tags.insert(NESTED_TYPE_TAG.to_owned(), shape.stored())),
            Shape::Base(_) => {}
        },
        Shape::Base(_) => {}
    }
    Ok(Dtype { value_type: ValueType(shape.number()?), tags })
}

/// The type of a field under Feast's name, as a definition may write it: `Float32`, `Array(Int64)`,
/// `Struct({a: Int64})`; an unknown number as `ValueType(99)`.
pub fn dtype_name(field: &Field) -> String {
    let structure = || {
        let schema = serde_json::from_str(field.tags.get(STRUCT_SCHEMA_TAG)?).ok()?;
        Shape::struct_from_stored(&schema, 0)
    };
    let shape = match field.value_type.0 {
        VALUE_LIST | VALUE_SET => {
            field.tags.get(NESTED_TYPE_TAG).and_then(|stored| Shape::from_stored(stored, 0))
        }
        STRUCT => structure(),
        STRUCT_LIST => structure().map(|inner| Shape::Array(Box::new(inner))),
        _ => None,
    };
    shape.map_or_else(|| value_type_name(field.value_type), |shape| shape.name())
}

/// A value type under Feast's name.
pub fn value_type_name(value_type: ValueType) -> String {
    let number = value_type.0;
    for base in BASES {
        if base.number == number {
            return base.feast.to_owned();
        }
        if base.list == Some(number) {
            return format!("Array({})", base.feast);
        }
        if base.set == Some(number) {
            return format!("Set({})", base.feast);
        }
    }
    match number {
        0 => "unknown".to_owned(),
        19 => "Null".to_owned(),
        STRUCT => "Struct".to_owned(),
        STRUCT_LIST => "Array(Struct)".to_owned(),
        VALUE_LIST => "Array(Array)".to_owned(),
        VALUE_SET => "Set(Array)".to_owned(),
        other => format!("ValueType({other})"),
    }
}

/// A value type under the name of the wire enum: `INT64`, `FLOAT_LIST`.
pub fn value_type_enum_name(value_type: ValueType) -> String {
    let number = value_type.0;
    for base in BASES {
        for (candidate, suffix) in [(Some(base.number), ""), (base.list, "_LIST"), (base.set, "_SET")] {
            if candidate == Some(number) {
                return format!("{}{suffix}", base.enumeration);
            }
        }
    }
    match number {
        0 => "UNKNOWN".to_owned(),
        19 => "NULL".to_owned(),
        STRUCT => "STRUCT".to_owned(),
        STRUCT_LIST => "STRUCT_LIST".to_owned(),
        VALUE_LIST => "VALUE_LIST".to_owned(),
        VALUE_SET => "VALUE_SET".to_owned(),
        other => other.to_string(),
    }
}

/// The names that a message offers.
pub(crate) fn allowed_dtypes() -> String {
    let bases = quoted_list(BASES.iter().take(13).map(|base| base.feast));
    format!("{bases}, `Array(…)`, `Set(…)`, `Struct({{name: type}})`, or a value type such as `INT64`")
}

fn number_of(enumeration: &str) -> Option<i32> {
    let (stem, pick): (&str, fn(&Base) -> Option<i32>) = if let Some(stem) = enumeration.strip_suffix("_LIST")
    {
        (stem, |base| base.list)
    } else if let Some(stem) = enumeration.strip_suffix("_SET") {
        (stem, |base| base.set)
    } else {
        (enumeration, |base| Some(base.number))
    };
    BASES.iter().find(|base| base.enumeration == stem).and_then(pick)
}

/// The grammar of Feast's type names.
enum Shape {
    Base(&'static Base),
    Array(Box<Self>),
    Set(Box<Self>),
    Struct(Vec<(String, Self)>),
}

impl Shape {
    fn parse(text: &str, depth: usize) -> Result<Self, DtypeError> {
        if depth > DEPTH_MAX {
            return Err(DtypeError {
                message: format!("a type nested deeper than {DEPTH_MAX} levels"),
                hint: None,
            });
        }
        if let Some(base) = BASES.iter().find(|base| base.feast == text) {
            return Ok(Self::Base(base));
        }
        for (wrapper, wrap) in [("Array", Self::Array as fn(Box<Self>) -> Self), ("Set", Self::Set)] {
            if let Some(inner) = inside(text, wrapper) {
                let shape = wrap(Box::new(Self::parse(inner.trim(), depth + 1)?));
                shape.number()?;
                return Ok(shape);
            }
        }
        match inside(text, "Struct").and_then(|inner| inner.trim().strip_prefix('{')?.strip_suffix('}')) {
            Some(fields) => Self::parse_fields(fields, depth),
            None => Err(unknown(text)),
        }
    }

    fn parse_fields(text: &str, depth: usize) -> Result<Self, DtypeError> {
        let mut fields: Vec<(String, Self)> = Vec::new();
        for part in split_top_level(text) {
            let Some((name, dtype)) = part.split_once(':').map(|(name, dtype)| (name.trim(), dtype.trim()))
            else {
                let message = format!("`{}` is not a `name: type` of a Struct", part.trim());
                return Err(DtypeError {
                    message, hint: Some("write `Struct({name: type, …})`".to_owned())
                });
            };
            if name.is_empty() || fields.iter().any(|(other, _)| other == name) {
                let message = format!("a Struct needs distinct, non-empty field names, got `{name}`");
                return Err(DtypeError { message, hint: None });
            }
            fields.push((name.to_owned(), Self::parse(dtype, depth + 1)?));
        }
        Ok(Self::Struct(fields))
    }

    fn number(&self) -> Result<i32, DtypeError> {
        let refuse = |wrapper: &str, base: &Base| DtypeError {
            message: format!("Feast has no `{wrapper}({})`", base.feast),
            hint: None,
        };
        match self {
            Self::Base(base) => Ok(base.number),
            Self::Struct(_) => Ok(STRUCT),
            Self::Array(inner) => match inner.as_ref() {
                Self::Base(base) => base.list.ok_or_else(|| refuse("Array", base)),
                Self::Struct(_) => Ok(STRUCT_LIST),
                Self::Array(_) | Self::Set(_) => Ok(VALUE_LIST),
            },
            Self::Set(inner) => match inner.as_ref() {
                Self::Base(base) => base.set.ok_or_else(|| refuse("Set", base)),
                Self::Struct(_) => {
                    Err(DtypeError { message: "Feast has no `Set(Struct(…))`".to_owned(), hint: None })
                }
                Self::Array(_) | Self::Set(_) => Ok(VALUE_SET),
            },
        }
    }

    /// Reads Feast's stored text of a type; `None` when it is of another making.
    fn from_stored(text: &str, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(base) = BASES.iter().find(|base| base.stored == text) {
            return Some(Self::Base(base));
        }
        if let Some(inner) = inside(text, "Array") {
            return Some(Self::Array(Box::new(Self::from_stored(inner, depth + 1)?)));
        }
        if let Some(inner) = inside(text, "Set") {
            return Some(Self::Set(Box::new(Self::from_stored(inner, depth + 1)?)));
        }
        let structure: serde_json::Value = serde_json::from_str(text).ok()?;
        Self::struct_from_stored(structure.get("__struct__")?, depth + 1)
    }

    /// Reads the JSON object of a Struct's fields.
    fn struct_from_stored(schema: &serde_json::Value, depth: usize) -> Option<Self> {
        let fields = schema.as_object()?.iter();
        let fields: Option<Vec<_>> = fields
            .map(|(name, stored)| Some((name.clone(), Self::from_stored(stored.as_str()?, depth + 1)?)))
            .collect();
        Some(Self::Struct(fields?))
    }

    /// Feast's name of the type.
    fn name(&self) -> String {
        match self {
            Self::Base(base) => base.feast.to_owned(),
            Self::Array(inner) => format!("Array({})", inner.name()),
            Self::Set(inner) => format!("Set({})", inner.name()),
            Self::Struct(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, shape)| format!("{name}: {}", shape.name())).collect();
                format!("Struct({{{}}})", fields.join(", "))
            }
        }
    }

    /// Feast's stored text of the type.
    fn stored(&self) -> String {
        match self {
            Self::Base(base) => base.stored.to_owned(),
            Self::Array(inner) => format!("Array({})", inner.stored()),
            Self::Set(inner) => format!("Set({})", inner.stored()),
            Self::Struct(fields) => format!("{{\"__struct__\": {}}}", struct_schema(fields)),
        }
    }
}

/// The JSON object of a Struct's fields, laid out as Feast's SDK writes it.
fn struct_schema(fields: &[(String, Shape)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, shape)| format!("{}: {}", json_text(name), json_text(&shape.stored())))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn inside<'a>(text: &'a str, wrapper: &str) -> Option<&'a str> {
    text.strip_prefix(wrapper)?.trim_start().strip_prefix('(')?.strip_suffix(')')
}

/// Splits at commas that stand in no bracket; an empty text has no parts but itself.
fn split_top_level(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unknown(text: &str) -> DtypeError {
    let foreign = match text.to_ascii_lowercase().as_str() {
        "float" => Some("Float32` or `Float64"),
        "double" => Some("Float64"),
        "int" | "integer" | "long" | "bigint" => Some("Int64"),
        "str" | "text" | "varchar" | "utf8" => Some("String"),
        "boolean" => Some("Bool"),
        "timestamp" | "datetime" | "date" => Some("UnixTimestamp"),
        _ => None,
    };
    let names =
        BASES.iter().flat_map(|base| [base.feast, base.enumeration]).chain(["Array", "Set", "Struct"]);
    let hint = foreign.map(|name| format!("did you mean `{name}`?")).or_else(|| did_you_mean(text, names));
    DtypeError { message: format!("unknown type `{text}`; allowed: {}", allowed_dtypes()), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_names_are_read() {
        let cases = [
            ("Float32", 6, "Float32", "FLOAT"),
            ("FLOAT", 6, "Float32", "FLOAT"),
            ("Float64", 5, "Float64", "DOUBLE"),
            ("INT64", 4, "Int64", "INT64"),
            ("ValueType.INT64", 4, "Int64", "INT64"),
            ("Array(Int64)", 14, "Array(Int64)", "INT64_LIST"),
            ("INT64_LIST", 14, "Array(Int64)", "INT64_LIST"),
            ("Set( String )", 23, "Set(String)", "STRING_SET"),
            ("UnixTimestamp", 8, "UnixTimestamp", "UNIX_TIMESTAMP"),
            ("UUID_SET", 40, "Set(Uuid)", "UUID_SET"),
            ("Array(Map)", 21, "Array(Map)", "MAP_LIST"),
            ("ZonedTimestamp", 48, "ZonedTimestamp", "ZONED_TIMESTAMP"),
        ];
        for (text, number, feast, enumeration) in cases {
            let dtype = parse_dtype(text).unwrap();
            assert_eq!(dtype, Dtype { value_type: ValueType(number), tags: Tags::new() }, "{text}");
            assert_eq!(value_type_name(dtype.value_type), feast, "{text}");
            assert_eq!(value_type_enum_name(dtype.value_type), enumeration, "{text}");
        }
    }

    #[test]
    fn nested_types_keep_what_the_number_cannot_say_in_feasts_tags() {
        let cases = [
            ("Array(Array(Float32))", 42, NESTED_TYPE_TAG, "Array(Array(FLOAT32))"),
            ("Set(Array(Int64))", 43, NESTED_TYPE_TAG, "Set(Array(INT64))"),
            (
                "Struct({a: Int64, b: Array(String)})",
                34,
                STRUCT_SCHEMA_TAG,
                r#"{"a": "INT64", "b": "Array(STRING)"}"#,
            ),
            ("Array(Struct({a: Bool}))", 35, STRUCT_SCHEMA_TAG, r#"{"a": "BOOL"}"#),
            (
                "Struct({a: Struct({b: Int32})})",
                34,
                STRUCT_SCHEMA_TAG,
                r#"{"a": "{\"__struct__\": {\"b\": \"INT32\"}}"}"#,
            ),
        ];
        for (text, number, tag, stored) in cases {
            let Dtype { value_type, tags } = parse_dtype(text).unwrap();
            assert_eq!((value_type.0, tags.get(tag).map(String::as_str)), (number, Some(stored)), "{text}");
            let field = Field { name: "f".to_owned(), value_type, description: String::new(), tags };
            assert_eq!(dtype_name(&field), text);
        }
    }

    #[test]
    fn types_of_another_making_have_a_name_too() {
        for (number, tag, stored, expected) in [
            (34, STRUCT_SCHEMA_TAG, "not json", "Struct"),
            (35, STRUCT_SCHEMA_TAG, r#"{"a": "NEW_TYPE"}"#, "Array(Struct)"),
            (42, NESTED_TYPE_TAG, "Array(", "Array(Array)"),
            (43, "other", "", "Set(Array)"),
            (99, "other", "", "ValueType(99)"),
            (0, "other", "", "unknown"),
        ] {
            let tags = Tags::from([(tag.to_owned(), stored.to_owned())]);
            let field = Field {
                name: "f".to_owned(),
                value_type: ValueType(number),
                description: String::new(),
                tags,
            };
            assert_eq!(dtype_name(&field), expected);
        }
    }

    #[test]
    fn what_is_no_type_is_refused_with_the_nearest_name() {
        let cases = [
            ("Flaot32", "unknown type `Flaot32`", Some("did you mean `Float32`?")),
            ("float", "unknown type `float`", Some("did you mean `Float32` or `Float64`?")),
            ("str", "unknown type `str`", Some("did you mean `String`?")),
            ("Array(Integre)", "unknown type `Integre`", None),
            ("Array(ZonedTimestamp)", "Feast has no `Array(ZonedTimestamp)`", None),
            ("Set(Map)", "Feast has no `Set(Map)`", None),
            ("Struct({})", "`` is not a `name: type` of a Struct", Some("write `Struct({name: type, …})`")),
            ("Struct({a: Int64, a: Int64})", "a Struct needs distinct, non-empty field names, got `a`", None),
            ("", "unknown type ``", None),
        ];
        for (text, message, hint) in cases {
            let error = parse_dtype(text).unwrap_err();
            assert!(error.message.starts_with(message), "{text}: {}", error.message);
            assert_eq!(error.hint.as_deref(), hint, "{text}");
        }
        let deep = format!("{}Int64{}", "Array(".repeat(40), ")".repeat(40));
        assert_eq!(parse_dtype(&deep).unwrap_err().message, "a type nested deeper than 16 levels");
    }
}
