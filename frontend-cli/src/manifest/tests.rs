//! Manifests beside command lines.

use clap::Parser;
use proptest::prelude::*;

use super::*;
use crate::args::{Console, RunArguments};

/// What `hv run` with these words and this manifest comes to.
fn merged(text: &str, words: &[&str]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hv.toml");
    std::fs::write(&path, text).unwrap();
    let config = format!("--config={}", path.display());
    let words = ["hv", "run", &config].iter().chain(words).map(OsString::from).collect();
    let merged = complete(words).map_err(|line| line.replace(&format!("{}:", path.display()), ""))?;
    Ok(merged.into_iter().map(|word| word.into_string().unwrap()).filter(|word| *word != config).collect())
}

fn run(text: &str, words: &[&str]) -> RunArguments {
    match Arguments::try_parse_from(merged(text, words).unwrap()).unwrap().command {
        args::Command::Run(arguments) => *arguments,
        _ => unreachable!("the first word is run"),
    }
}

#[test]
fn keys_are_the_words_of_the_command_line() {
    let arguments = run(
        "kernel = 'vmlinuz'\ninitrd = 'initrd'\nappend = '-- quiet'\ncpus = 2\nmemory = '1G'\n\
         disk = ['a.img', 'b.img,readonly']\nconsole = 'none'\ntransport = 'mmio'\ntimeout = '90s'\n\
         on-reboot = 'exit'\nname = 'web'\nrm = true\ndetach = false\n",
        &[],
    );
    assert_eq!(arguments.kernel.as_deref(), Some(Path::new("vmlinuz")));
    assert_eq!((arguments.cpus, arguments.memory), (2, 1 << 30));
    assert_eq!(arguments.append.as_deref(), Some("-- quiet"));
    assert_eq!(arguments.disk.len(), 2);
    assert!(arguments.disk[1].read_only);
    assert_eq!(arguments.console(), &Console::None);
    assert_eq!(arguments.guest.name.as_deref(), Some("web"));
    assert!(arguments.guest.rm && !arguments.guest.detach);
}

#[test]
fn words_of_the_command_line_win() {
    let text = "kernel = 'k'\ncpus = 2\ndisk = ['a', 'b']\nname = 'web'\n";
    let arguments = run(text, &["--cpus", "4", "--disk", "c"]);
    assert_eq!((arguments.cpus, arguments.disk.len()), (4, 1));
    assert_eq!(arguments.guest.name.as_deref(), Some("web"));
    assert_eq!(run(text, &["--kernel", "other"]).kernel.as_deref(), Some(Path::new("other")));
}

#[test]
fn tables_of_the_architecture_override() {
    let text = format!("kernel = 'k'\n[arch.{}]\nkernel = 'special'\n", env::consts::ARCH);
    assert_eq!(run(&text, &["--accel", "kvm"]).kernel.as_deref(), Some(Path::new("special")));
    let text = "kernel = 'k'\n[arch.aarch64]\nkernel = 'arm'\n[arch.x86_64]\nkernel = 'x86'\n";
    assert_eq!(run(text, &["--accel", "emulated"]).kernel.as_deref(), Some(Path::new("arm")));
    assert_eq!(run(&format!("accel = 'emulated'\n{text}"), &[]).kernel.as_deref(), Some(Path::new("arm")));
}

#[test]
fn mistakes_are_told_with_their_place_and_value() {
    for (text, place, expected) in [
        ("kernel = 'k'\ncpu = 1\n", "2:1: ", "did you mean `cpus`?"),
        ("zzzzzz = 1\n", "1:1: ", "--help"),
        ("config = 'x'\n", "1:1: ", "unknown key `config`"),
        ("in-background = true\n", "1:1: ", "unknown key"),
        ("cpus = 65\n", "1:8: ", "65"),
        ("cpus = 'two'\n", "1:8: ", "two"),
        ("memory = '512'\n", "1:10: ", "512M"),
        ("disk = ['a', 'b,format=qcow2']\n", "1:14: ", "qcow2"),
        ("transport = 'isa'\n", "1:13: ", "mmio"),
        ("rm = 1\n", "1:1: ", "true or false"),
        ("name = true\n", "1:1: ", "in quotes"),
        ("name = ['a']\n", "1:1: ", "without [ ]"),
        ("name = '-a'\n", "1:8: ", "letter or digit"),
        ("disk = { path = 'a' }\n", "1:1: ", "no table"),
        ("[arch.aarch64]\ncpus = 0\n[arch.x86_64]\ncpus = 1\n", "2:8: ", "0"),
        ("kernel = \n", "1:", ""),
    ] {
        let line = merged(text, &[]).unwrap_err();
        assert!(line.starts_with(place) && line.contains(expected) && !line.contains('\n'), "{text}: {line}");
    }
}

#[test]
fn what_boots_stands_before_the_words_of_its_command() {
    // Images are words of their own: a command line that has them.
    let command = Command::new("hv").subcommand(
        Command::new(RUN)
            .arg(Arg::new("image"))
            .arg(Arg::new("env").long("env").action(ArgAction::Append))
            .arg(Arg::new("tty").long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("command").last(true).action(ArgAction::Append)),
    );
    let manifest =
        Manifest::parse("image = 'debian'\ncommand = ['ls', '-l']\ntty = true\nenv = { A = 'x', B = 'y' }")
            .unwrap();
    let run = Run::new(&command);
    manifest.all_entries().try_for_each(|entry| run.check(entry)).unwrap();
    let merge = |words: &[&str]| {
        let words: Vec<OsString> = ["hv", "run"].iter().chain(words).map(OsString::from).collect();
        let given = given(&command, &words).unwrap();
        let merged = run.merge(words, &given, &manifest.entries("x86_64"));
        merged.iter().skip(2).map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let options = "--env=A=x --env=B=y --tty";
    assert_eq!(merge(&[]), format!("{options} debian -- ls -l"));
    assert_eq!(merge(&["--", "ps"]), format!("{options} debian -- ps"));
    assert_eq!(merge(&["--tty", "alpine"]), "--env=A=x --env=B=y --tty alpine -- ls -l");
    assert_eq!(merge(&["--env=A=z"]), format!("{options} --env=A=z debian -- ls -l"));
}

#[test]
fn an_image_and_its_command_may_be_in_the_file_alone() {
    let text = "image = 'debian'\ncommand = ['ls', '-l']\n";
    let said = |words: &[&str]| {
        let arguments = run(text, words);
        (arguments.image.unwrap(), arguments.command.join(" "))
    };
    assert_eq!(said(&[]), ("debian".to_owned(), "ls -l".to_owned()));
    assert_eq!(said(&["--memory=1G", "--", "ps", "--all"]), ("debian".to_owned(), "ps --all".to_owned()));
    assert_eq!(said(&["alpine"]), ("alpine".to_owned(), "ls -l".to_owned()));
}

#[test]
fn manifests_that_cannot_be_read_are_told() {
    let words = |path: &str| ["hv", "run", "--config", path].map(OsString::from).to_vec();
    assert!(complete(words("/nonexistent/hv.toml")).unwrap_err().contains("cannot be read"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    std::fs::write(&path, b"cpus = 1\n# \xff\n").unwrap();
    let line = complete(words(path.to_str().unwrap())).unwrap_err();
    assert!(line.contains("m:2:1: ") && line.contains("UTF-8"), "{line}");
}

#[test]
fn other_command_lines_stay_as_they_are() {
    for words in [&["hv", "ps", "run"][..], &["hv"], &["hv", "run", "--config"], &["hv", "run", "--nonsense"]]
    {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(complete(words.clone()).unwrap(), words);
    }
}

proptest! {
    #[test]
    fn any_text_is_a_command_line_or_an_error_with_a_place(
        text in r#"((cpus|memory|disk|kernel|name|rm|env|arch\.x86_64|[a-z]{1,4})( = |=)('[^'\n]{0,12}'|[0-9]{1,3}|\[['a-z,0-9 ]{0,9}\]|true)\n){0,4}"#
    ) {
        if let Err(line) = merged(&text, &[]) {
            let mut numbers = line.splitn(3, ':');
            prop_assert!(numbers.next().unwrap().parse::<usize>().is_ok_and(|line| line > 0), "{}", line);
            prop_assert!(numbers.next().unwrap().parse::<usize>().is_ok_and(|column| column > 0), "{}", line);
        }
    }
}
