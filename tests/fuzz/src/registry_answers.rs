//! What registries and token services answer besides documents: errors, tokens, redirects.

use hv_images::registry::fuzzing::{error_message, redirect, token};

/// One answer; the first byte says of which kind it should be.
///
/// What is shown is one short line that cannot steer a terminal; a token lives for a day at most; a redirect leads to an
/// encrypted address without a name in it, unless plain HTTP was allowed.
///
/// # Panics
/// One of these is not so.
pub fn registry_answers(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    match kind % 4 {
        0 => one_line(&error_message(if kind & 4 == 0 { "application/json" } else { "text/html" }, body)),
        1 => {
            if let Some((_, life)) = token(body) {
                assert!(life <= 24 * 60 * 60);
            }
        }
        kind => {
            let insecure = kind == 3;
            match redirect("https://registry.example/v2/", &String::from_utf8_lossy(body), insecure) {
                Ok(target) => {
                    let is_plain = target.starts_with("http://");
                    assert!(target.starts_with("https://") || is_plain && insecure, "{target}");
                    let authority = target.split('/').nth(2).unwrap_or_default();
                    assert!(!authority.contains('@'), "{target}");
                }
                Err(why) => one_line(&why),
            }
        }
    }
}

fn one_line(text: &str) {
    assert!(text.chars().count() < 1200 && !text.contains(char::is_control), "{text:?}");
}
