//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1): how a registry wants to be told who asks.

/// What is read of one header; the rest is dropped.
const CHALLENGES: usize = 8;
const PARAMETERS: usize = 16;

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, …, as the server writes it.
    pub scheme: String,
    /// Names, in small letters, and values, in order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Whether this is scheme `name`, whose case does not matter.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(name)
    }

    /// The value of the first parameter `name` (in small letters).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header, as far as it is well-formed.
#[must_use]
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut text = Text { rest: header };
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        text.skip(|c| matches!(c, ' ' | '\t' | ','));
        let word = text.take(is_token);
        if word.is_empty() {
            return challenges;
        }
        match (challenges.last_mut(), text.value()) {
            (Some(challenge), Some(value)) => {
                if challenge.parameters.len() < PARAMETERS {
                    challenge.parameters.push((word.to_ascii_lowercase(), value));
                }
            }
            (None, Some(_)) => return challenges,
            (_, None) => {
                if challenges.len() == CHALLENGES {
                    return challenges;
                }
                challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
                text.skip_token68();
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.take(unwanted);
    }

    /// `= VALUE`, if that is next.
    fn value(&mut self) -> Option<String> {
        let after = self.rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        self.rest = after.trim_start_matches([' ', '\t']);
        match self.rest.strip_prefix('"') {
            Some(quoted) => {
                self.rest = quoted;
                Some(self.quoted())
            }
            None => Some(self.take(is_token).to_owned()),
        }
    }

    /// Up to the closing quote; without one the whole rest belongs to the value.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        value
    }

    /// Some schemes have one bare value instead of parameters, as `Negotiate YII=`; nothing here uses it.
    fn skip_token68(&mut self) {
        let mut ahead = Text { rest: self.rest.trim_start_matches([' ', '\t']) };
        if ahead.rest.len() == self.rest.len() {
            return;
        }
        let word = ahead.take(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        let padding = ahead.take(|c| c == '=');
        ahead.skip(|c| matches!(c, ' ' | '\t'));
        let ends = ahead.rest.is_empty() || ahead.rest.starts_with(',');
        // `realm=` without a value looks the same, and is of no use either.
        if !word.is_empty() && ends && (!padding.is_empty() || word.contains(['/', '+'])) {
            self.rest = ahead.rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let challenges = parse(header).into_iter().map(|challenge| {
            let parameters = challenge.parameters.iter().map(|(name, value)| format!(" {name}={value};"));
            format!("[{}{}]", challenge.scheme, parameters.collect::<String>())
        });
        challenges.collect()
    }

    #[test]
    fn what_registries_send() {
        assert_eq!(
            shown(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#
            ),
            "[Bearer realm=https://auth.docker.io/token; service=registry.docker.io; scope=repository:library/debian:pull,push;]"
        );
        assert_eq!(shown("BASIC Realm = registry"), "[BASIC realm=registry;]");
        let challenge = &parse("bearer realm=a, realm=b")[0];
        assert!(challenge.is("Bearer") && challenge.parameter("realm") == Some("a"));
        assert_eq!(challenge.parameter("scope"), None);
    }

    #[test]
    fn several_challenges_in_one_header() {
        assert_eq!(
            shown(r#"Negotiate, Basic realm="a \"b\", c" , charset=UTF-8,Bearer realm=x,,scope="""#),
            r#"[Negotiate][Basic realm=a "b", c; charset=UTF-8;][Bearer realm=x; scope=;]"#
        );
        assert_eq!(shown("Negotiate YII/a+=, Basic realm=x"), "[Negotiate][Basic realm=x;]");
        assert_eq!(shown("NTLM TlRMTVNTUAAB==,Basic"), "[NTLM][Basic]");
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for (header, expected) in [
            ("", ""),
            ("=", ""),
            ("realm=x", ""),
            ("Bearer realm=\"x", "[Bearer realm=x;]"),
            ("Bearer realm=\"x\\", "[Bearer realm=x;]"),
            ("Bearer (x) realm=y", "[Bearer]"),
            ("Bearer realm=é", "[Bearer realm=;]"),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(parse(&"Basic, ".repeat(1000)).len(), CHALLENGES);
        assert_eq!(parse(&format!("Basic {}", "a=b, ".repeat(1000)))[0].parameters.len(), PARAMETERS);
    }
}
