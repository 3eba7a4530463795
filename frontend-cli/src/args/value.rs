//! The values of the command line: sizes, times, disks, consoles. Errors are one line: what is wrong, what to write.

use std::{
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use hv_core::machine::CpuQuota;

/// Thousandths of a processor: less than the least makes a guest wait for seconds, more than the most is of no use.
const QUOTAS: RangeInclusive<u32> = 10..=64_000;
/// RAM comes in pieces of this many bytes.
const MEMORY_STEP: u64 = 2 << 20;
/// The most bytes of a disk's serial number (VIRTIO 1.2, 5.2.6: the answer to GET_ID).
const SERIAL_LIMIT: usize = 20;
/// More queues than the machine has vCPUs are of no use.
const QUEUES_LIMIT: u16 = 64;

/// One `--disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) serial: Option<String>,
    pub(crate) queues: Option<NonZeroU16>,
    /// The most operations in a second.
    pub(crate) iops: Option<NonZeroU64>,
    /// The most bytes in a second.
    pub(crate) bandwidth: Option<NonZeroU64>,
}

/// Where the guest's console is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Console {
    /// Standard input and output; a terminal becomes raw.
    Stdio,
    /// A new pseudo-terminal, whose name is told.
    Pty,
    /// Output only.
    File(PathBuf),
    /// Nowhere.
    None,
}

/// `512M`, `2G`: a size in bytes.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes == 0 || !bytes.is_multiple_of(MEMORY_STEP) {
        return Err("write a multiple of 2M, such as 512M or 2G".to_owned());
    }
    Ok(bytes)
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err("write a number and a unit of K, M, G or T, such as 512M or 2G".to_owned()),
    };
    let count: u64 =
        number.parse().map_err(|_| "write a whole number and a unit, such as 512M or 2G".to_owned())?;
    count.checked_mul(1 << shift).ok_or_else(|| "is too large; the most is 512G".to_owned())
}

/// `1.5`, `50%`: a share of the host's processors.
pub(super) fn cpu_quota(text: &str) -> Result<CpuQuota, String> {
    let (number, places) = match text.strip_suffix('%') {
        Some(number) => (number, 1),
        None => (text, 3),
    };
    let thousandths = decimal(number, places).filter(|thousandths| QUOTAS.contains(thousandths));
    let quota = thousandths.and_then(NonZeroU32::new).map(CpuQuota::of_thousandths);
    quota.ok_or_else(|| "write a number of processors from 0.01 to 64, such as 1.5 or 50%".to_owned())
}

/// A number with at most so many decimal places, as a multiple of the last.
fn decimal(text: &str, places: usize) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > places {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// `90s`, `2m`, `500ms`: a time that is not zero.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number and a unit of ms, s, m or h, such as 90s or 2m".to_owned()),
    };
    let count: u64 =
        number.parse().map_err(|_| "write a whole number and a unit, such as 90s or 2m".to_owned())?;
    match count.checked_mul(millis) {
        None | Some(0) => Err("write a time above zero and below a million years, such as 90s".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `PATH[,readonly][,format=raw][,serial=TEXT][,queues=N][,iops=N][,bw=SIZE]`.
pub(super) fn disk(text: &str) -> Result<Disk, String> {
    let mut words = text.split(',');
    let path = words.next().filter(|path| !path.is_empty()).ok_or("write the path of the disk first")?;
    let mut disk = Disk {
        path: PathBuf::from(path),
        read_only: false,
        serial: None,
        queues: None,
        iops: None,
        bandwidth: None,
    };
    for word in words {
        match word.split_once('=') {
            None if word == "readonly" => disk.read_only = true,
            Some(("format", "raw")) => {}
            Some(("format", format)) => {
                return Err(format!("format `{format}` is not known; use format=raw"));
            }
            Some(("serial", serial)) => disk.serial = Some(check_serial(serial)?),
            Some(("queues", number)) => disk.queues = Some(queues(number)?),
            Some(("iops", number)) => disk.iops = Some(iops(number)?),
            Some(("bw", size)) => disk.bandwidth = Some(bandwidth(size)?),
            _ => {
                return Err(format!(
                    "`{word}` is not readonly, format=raw, serial=TEXT, queues=N, iops=N or bw=SIZE"
                ));
            }
        }
    }
    Ok(disk)
}

fn check_serial(serial: &str) -> Result<String, String> {
    let printable = serial.bytes().all(|byte| byte.is_ascii_graphic());
    if serial.is_empty() || serial.len() > SERIAL_LIMIT || !printable {
        return Err(format!("serial `{serial}`: write 1 to {SERIAL_LIMIT} visible ASCII characters"));
    }
    Ok(serial.to_owned())
}

fn queues(number: &str) -> Result<NonZeroU16, String> {
    let count = number.parse().ok().filter(|count: &NonZeroU16| count.get() <= QUEUES_LIMIT);
    count.ok_or_else(|| format!("queues `{number}`: write a number from 1 to {QUEUES_LIMIT}"))
}

/// Operations in a second.
fn iops(number: &str) -> Result<NonZeroU64, String> {
    number
        .parse()
        .map_err(|_| format!("iops `{number}`: write a number of operations in a second, such as 500"))
}

/// Bytes in a second.
pub(super) fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let bytes = size(text).ok().and_then(NonZeroU64::new);
    bytes.ok_or_else(|| format!("bw `{text}`: write a number of bytes in a second and a unit, such as 50M"))
}

/// `stdio`, `pty`, `none` or `file=PATH`.
pub(super) fn console(text: &str) -> Result<Console, String> {
    match (text, text.strip_prefix("file=")) {
        ("stdio", _) => Ok(Console::Stdio),
        ("pty", _) => Ok(Console::Pty),
        ("none", _) => Ok(Console::None),
        (_, Some(path)) if !path.is_empty() => Ok(Console::File(PathBuf::from(path))),
        _ => Err("write stdio, pty, none or file=PATH".to_owned()),
    }
}

/// `NAME=VALUE`: an environment variable.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(memory("512M"), Ok(512 << 20));
        assert_eq!(memory("2g"), Ok(2 << 30));
        assert_eq!(memory("4096KiB"), Ok(4 << 20));
        assert_eq!(memory("1T"), Ok(1 << 40));
        for wrong in [
            "",
            "M",
            "512",
            "0M",
            "1M",
            "3M",
            "-1G",
            "1.5G",
            "2X",
            "99999999999999999999G",
            "20000000T",
            "١G",
        ] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotas() {
        for (text, thousandths) in [
            ("1.5", 1500),
            ("0.01", 10),
            ("64", 64_000),
            ("0.125", 125),
            ("50%", 500),
            ("12.5%", 125),
            ("1%", 10),
            ("02", 2000),
        ] {
            assert_eq!(cpu_quota(text).unwrap().thousandths(), thousandths, "{text}");
        }
        for wrong in [
            "",
            "%",
            "0",
            "0.009",
            "64.001",
            "65",
            "-1",
            "+1",
            "1.",
            ".5",
            "1.5.0",
            "1.2345",
            "1.25%",
            "1e1",
            "x",
            "99999999999999999999",
            "١",
        ] {
            assert!(cpu_quota(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "90", "s", "0s", "-1s", "1d", "18446744073709551615h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn disks() {
        let plain = Disk {
            path: "a.img".into(),
            read_only: false,
            serial: None,
            queues: None,
            iops: None,
            bandwidth: None,
        };
        assert_eq!(disk("a.img"), Ok(plain.clone()));
        assert_eq!(disk("a.img,format=raw"), Ok(plain));
        let full = disk("/d/a=b.img,serial=X=1,readonly,queues=4").unwrap();
        assert_eq!(full.path, PathBuf::from("/d/a=b.img"));
        assert_eq!(
            (full.read_only, full.serial.as_deref(), full.queues.unwrap().get()),
            (true, Some("X=1"), 4)
        );
        for wrong in
            ["", ",readonly", "a,", "a,ro", "a,readonly=1", "a,format=qcow2", "a,serial=", "a,queues=0"]
        {
            assert!(disk(wrong).is_err(), "{wrong}");
        }
        let limited = disk("a,iops=500,bw=50M").unwrap();
        assert_eq!(limited.iops.map(NonZeroU64::get), Some(500));
        assert_eq!(limited.bandwidth.map(NonZeroU64::get), Some(50 << 20));
        for wrong in [
            "iops",
            "iops=",
            "iops=0",
            "iops=1K",
            "iops=-1",
            "bw",
            "bw=",
            "bw=0M",
            "bw=50",
            "bw=99999999999T",
        ] {
            let line = disk(&format!("a,{wrong}")).unwrap_err();
            assert!(line.contains(wrong) || line.contains(&wrong.replace('=', " `")), "{wrong}: {line}");
        }
        assert!(disk("a,serial=123456789012345678901").is_err());
        assert!(disk("a,serial=\u{e9}").is_err());
        assert!(disk("a,queues=65").is_err());
    }

    #[test]
    fn consoles() {
        assert_eq!(console("stdio"), Ok(Console::Stdio));
        assert_eq!(console("file=log.txt"), Ok(Console::File("log.txt".into())));
        for wrong in ["", "file", "file=", "tcp", "STDIO"] {
            assert!(console(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn errors_are_one_line(text in "[^\n]*") {
            let errors = [
                memory(&text).err(),
                time(&text).err(),
                disk(&text).err(),
                console(&text).err(),
                cpu_quota(&text).err(),
            ];
            prop_assert!(errors.iter().flatten().all(|line| !line.contains('\n')));
        }
    }
}
