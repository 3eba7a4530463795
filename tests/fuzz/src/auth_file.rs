//! Files with credentials for registries.

use hv_images::registry::credentials::{AuthFile, Credentials};

use crate::Input;

const REGISTRY: &str = "r.example:5000";

/// The bytes as a file, or as keys and secrets in a well-formed one.
///
/// Credentials are found only under a key that names the registry; no message or debugging output shows a secret.
///
/// # Panics
/// One of these is not so.
pub fn auth_file(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        if let Ok(file) = AuthFile::parse(input.bytes(data.len())) {
            look(&file);
        }
        return;
    }
    let form = input.u8() % 3;
    let mut text = |most| String::from_utf8_lossy(input.bytes(most)).into_owned();
    let (path, secret) = (text(20), format!("secret{}", text(40)));
    let key = match form {
        0 => path,
        1 => format!("{REGISTRY}{path}"),
        _ => format!("https://{REGISTRY}{path}"),
    };
    let quoted = |text: &str| {
        let escaped = text.chars().map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    let json = format!(r#"{{"auths": {{{}: {{"auth": {}}}}}}}"#, quoted(&key), quoted(&secret));
    let file = AuthFile::parse(json.as_bytes()).expect("a well-formed file");
    let (found, messages) = look(&file);
    assert!(found == 0 || key.to_ascii_lowercase().contains(REGISTRY), "{key:?} is not for {REGISTRY}");
    // The key may hold anything, and is shown.
    assert!(!messages.replace(&key, "").contains("secret") || key.contains("secret"), "{messages}");
}

/// Looks for credentials; says how often there are some, and what was said.
fn look(file: &AuthFile) -> (usize, String) {
    let mut messages = format!("{file:?}");
    let mut found = 0;
    for repository in ["x", "team/app", ""] {
        assert!(file.helper(REGISTRY).is_none_or(|name| !name.is_empty()));
        match file.entry(REGISTRY, repository) {
            Ok(Some(credentials)) => {
                found += 1;
                if let Credentials::Password { username, .. } = &credentials {
                    assert!(!username.contains(':') || !username.is_empty());
                }
            }
            Ok(None) => {}
            Err(error) => {
                let message = format!("{error:#}");
                assert!(!message.contains('\n'), "{message}");
                messages += &message;
            }
        }
    }
    (found, messages)
}
