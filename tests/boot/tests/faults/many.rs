//! Many guests: at once, and one after the other.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::images::{Home, said};

use super::{count, new_files, told};

/// Shows that all guests give their own right answer, though there are many more of them than processors.
pub(super) fn guests_at_once_all_come_through(home: &Home) -> Result<()> {
    let guests = count("HV_SOAK_GUESTS", 3)?;
    let one = |number: u32| -> Result<Duration> {
        let start = Instant::now();
        let script = format!("seq {number} {} | sha256sum; exit {number}", number + 20_000);
        let mut run = home.run_with("192M", &["--rm", "--name", &format!("one-{number}")]);
        let ran = home.say(run.args(["debian", "--", "sh", "-c", &script]))?.code(i32::try_from(number)?)?;
        let numbers: String = (number..=number + 20_000).map(|number| format!("{number}\n")).collect();
        let expected = said(&mut Command::new("sha256sum"), numbers.as_bytes())?.code(0)?.text();
        ensure!(ran.text() == expected, "guest {number} said {:?}", ran.text());
        Ok(start.elapsed())
    };
    let times = thread::scope(|scope| {
        let all: Vec<_> = (1..=guests).map(|number| scope.spawn(move || one(number))).collect();
        all.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Result<Vec<_>>>()
    })?;
    let (least, most) = (times.iter().min().context("a guest")?, times.iter().max().context("a guest")?);
    let processors = thread::available_parallelism()?;
    told(&format!(
        "{guests} guests at once on {processors} processors: all answers right, the first after {least:.1?}, the last after {most:.1?}"
    ));
    Ok(())
}

/// What of the host's could be used up, boot by boot.
fn held() -> Result<BTreeMap<&'static str, u64>> {
    let number = |path: &str, at: usize| -> Result<u64> {
        let text = fs::read_to_string(path)?;
        Ok(text.split_whitespace().nth(at).context("a number")?.parse()?)
    };
    let entries = |path: &str| fs::read_dir(path).map_or(0, |entries| entries.count() as u64);
    Ok(BTreeMap::from([
        ("open files", number("/proc/sys/fs/file-nr", 0)?),
        ("shared memory", entries("/dev/shm")),
        ("this test's descriptors", entries("/proc/self/fd")),
    ]))
}

/// Files that all processes of a machine may have open more than before, where others work on it as well.
const OTHERS: u64 = 2000;

/// Shows that nothing of the host's is used up by guests that come and go.
pub(super) fn boots_in_a_row_leave_nothing(home: &Home) -> Result<()> {
    let boots = count("HV_SOAK_BOOTS", 3)?;
    let (files, before, start) = (home.files()?, held()?, Instant::now());
    for number in 0..boots {
        let code = i32::try_from(number % 100)?;
        let script = format!("exit {code}");
        let boot = || -> Result<()> {
            match number % 3 {
                0 => drop(home.say(&mut home.run_script(&[], &script))?.code(code)?),
                1 => drop(home.say(&mut home.run_script(&["--rm", "--name", "row"], &script))?.code(code)?),
                _ => {
                    home.say(&mut home.run_script(&["-d", "--name", "row"], &script))?.code(0)?;
                    home.say(&mut home.hv(["wait", "row"]))?.code(code)?;
                    home.say(&mut home.hv(["rm", "row"]))?.code(0)?;
                }
            }
            let left = new_files(home, &files)?;
            ensure!(left.is_empty(), "there is {left:?}");
            Ok(())
        };
        boot().with_context(|| format!("boot {number}"))?;
    }
    let after = held()?;
    for (what, count) in &after {
        let most = before[what] + if *what == "open files" { OTHERS } else { 0 };
        ensure!(*count <= most, "{what}: {count}, before {}", before[what]);
    }
    told(&format!(
        "{boots} boots in a row in {:.0?}: no file, process or guest more; {before:?}, then {after:?}",
        start.elapsed()
    ));
    Ok(())
}
