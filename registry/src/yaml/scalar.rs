//! What a scalar means: the core schema of YAML 1.2, decided from its text and whether it was quoted.

/// One text value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The content, escapes undone.
    pub text: String,
    /// Written plain, so that `3`, `true` and `~` are not texts.
    pub plain: bool,
}

/// What a plain scalar stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved {
    /// Empty, `~`, `null`.
    Null,
    /// `true`, `false`.
    Boolean(bool),
    /// Decimal, `0x…`, `0o…`.
    Integer(i128),
    /// With a point, an exponent, or `.inf`, `.nan`.
    Float(f64),
    /// Everything else, and everything quoted.
    Text,
}

impl Scalar {
    /// The meaning under the core schema.
    pub fn resolve(&self) -> Resolved {
        if !self.plain {
            return Resolved::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "true" | "True" | "TRUE" => Resolved::Boolean(true),
            "false" | "False" | "FALSE" => Resolved::Boolean(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
            text => resolve_number(text),
        }
    }

    /// A boolean where one is wanted: also the words of YAML 1.1, which Feast's reader takes.
    pub fn as_boolean(&self) -> Option<bool> {
        if let Resolved::Boolean(value) = self.resolve() {
            return Some(value);
        }
        if !self.plain {
            return None;
        }
        match self.text.to_ascii_lowercase().as_str() {
            "yes" | "on" => Some(true),
            "no" | "off" => Some(false),
            _ => None,
        }
    }
}

fn resolve_number(text: &str) -> Resolved {
    let radix = |digits: &str, radix: u32| {
        digits
            .chars()
            .all(|digit| digit.is_digit(radix))
            .then(|| i128::from_str_radix(digits, radix).ok())
            .flatten()
            .map_or(Resolved::Text, Resolved::Integer)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Resolved::Text;
    }
    if unsigned.chars().all(|digit| digit.is_ascii_digit())
        && let Ok(value) = text.parse()
    {
        return Resolved::Integer(value);
    }
    let is_number = unsigned.chars().all(|letter| matches!(letter, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.contains(|letter: char| letter.is_ascii_digit());
    match text.parse() {
        Ok(value) if is_number => Resolved::Float(value),
        _ => Resolved::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let cases = [
            ("", Resolved::Null),
            ("~", Resolved::Null),
            ("null", Resolved::Null),
            ("true", Resolved::Boolean(true)),
            ("False", Resolved::Boolean(false)),
            ("yes", Resolved::Text),
            ("7", Resolved::Integer(7)),
            ("-7", Resolved::Integer(-7)),
            ("007", Resolved::Integer(7)),
            ("0x1F", Resolved::Integer(31)),
            ("0o17", Resolved::Integer(15)),
            ("0x", Resolved::Text),
            ("0x-1", Resolved::Text),
            ("1.5", Resolved::Float(1.5)),
            ("1e3", Resolved::Float(1000.0)),
            ("-1h", Resolved::Text),
            ("90m", Resolved::Text),
            ("2024-01-01", Resolved::Text),
            ("1.2.3", Resolved::Text),
            (".", Resolved::Text),
            ("-", Resolved::Text),
            ("infinity", Resolved::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(Scalar { text: text.to_owned(), plain: true }.resolve(), expected, "{text}");
            if !text.is_empty() {
                let quoted = Scalar { text: text.to_owned(), plain: false };
                assert_eq!(quoted.resolve(), Resolved::Text, "{text}");
            }
        }
    }
}
