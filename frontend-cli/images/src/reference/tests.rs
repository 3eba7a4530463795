//! Names, right and wrong.

use super::*;

fn complete(text: &str) -> String {
    text.parse::<Reference>().unwrap_or_else(|error| panic!("{text}: {error:#}")).to_string()
}

#[test]
fn names_are_completed_as_docker_does() {
    let digest = Digest::of(b"abc");
    for (text, whole) in [
        ("debian", "docker.io/library/debian:latest".to_owned()),
        ("debian:bookworm", "docker.io/library/debian:bookworm".to_owned()),
        ("docker.io/debian", "docker.io/library/debian:latest".to_owned()),
        ("index.docker.io/debian", "docker.io/library/debian:latest".to_owned()),
        ("user/image:1.0", "docker.io/user/image:1.0".to_owned()),
        ("ghcr.io/a/b/c:x_y-z.1", "ghcr.io/a/b/c:x_y-z.1".to_owned()),
        ("localhost/image", "localhost/image:latest".to_owned()),
        ("localhost:5000/image", "localhost:5000/image:latest".to_owned()),
        ("host:5000/a/b:t", "host:5000/a/b:t".to_owned()),
        ("[::1]:5000/a:t", "[::1]:5000/a:t".to_owned()),
        ("[fe80::1]/a", "[fe80::1]/a:latest".to_owned()),
        ("a__b/c-----d/e.f_g", "docker.io/a__b/c-----d/e.f_g:latest".to_owned()),
        (&format!("debian@{digest}"), format!("docker.io/library/debian@{digest}")),
        (&format!("h.io/a:t@{digest}"), format!("h.io/a:t@{digest}")),
    ] {
        assert_eq!(complete(text), whole, "{text}");
        assert_eq!(complete(&whole), whole, "what was completed stays");
    }
    let parts: Reference = format!("h:1/a/b:t@{digest}").parse().unwrap();
    assert_eq!((&*parts.registry, &*parts.repository), ("h:1", "a/b"));
    assert_eq!((parts.tag.as_deref(), parts.digest), (Some("t"), Some(digest)));
}

#[test]
fn other_words_are_refused_with_the_word_and_the_cause() {
    let long = format!("a/{}", "b".repeat(300));
    let tag = format!("a:{}", "t".repeat(129));
    for (text, cause) in [
        ("", "empty"),
        ("Debian", "upper-case"),
        ("a//b", "\"\""),
        ("/a", "\"\""),
        ("a/", "\"\""),
        (":tag", "library"),
        ("a:", "no tag"),
        ("a:-x", "no tag"),
        ("a:b:c", "no tag"),
        ("a:ü", "no tag"),
        ("a___b", "a___b"),
        ("a..b", "a..b"),
        ("-a", "-a"),
        ("a-", "a-"),
        ("a b", "a b"),
        ("h:x/a", "no port"),
        ("h:70000/a", "no port"),
        ("h:+1/a", "no port"),
        ("-h.io/a", "no host"),
        ("h..io/a", "no host"),
        ("[::g]/a", "IPv6"),
        ("a@sha256:12", "64 lower-case"),
        ("a@md5:12", "sha256:HEX"),
        (&long, "letters"),
        (&tag, "no tag"),
        ("../a", "\"..\""),
    ] {
        let error = format!("{:#}", text.parse::<Reference>().expect_err(text));
        let cause = if cause == "library" { "\"\"" } else { cause };
        assert!(error.contains(cause) || (text == ":tag" && error.contains("not made of")), "{text}: {error}");
        assert!(error.starts_with(&format!("{:?}", text.chars().take(100).collect::<String>())), "{error}");
    }
}

#[test]
fn a_word_is_a_path_if_it_looks_like_one_or_is_there() {
    for path in ["/x", "./x", "../x", ".", "..", "/"] {
        assert_eq!(Looks::of(path).unwrap(), Looks::Path(path.into()));
    }
    // Tests run in the crate's folder.
    assert_eq!(Looks::of("src/lib.rs").unwrap(), Looks::Path("src/lib.rs".into()));
    assert_eq!(Looks::of("src/none").unwrap(), Looks::Reference("src/none".parse().unwrap()));
    assert!(Looks::of("No Such File").unwrap_err().to_string().contains("no file of that name"));
}
