//! Dates of the Gregorian calendar as the registers of the clock hold them.

use super::CENTURY;

/// Index of the hours.
pub(super) const HOURS: u8 = 4;

const DAY: i64 = 86_400;
/// Days from 0000-03-01, where this file's years begin, to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of the 400 years after which the calendar repeats.
const ERA: i64 = 146_097;
/// The last second of the year 9999, the last that the registers can show.
const LAST: i64 = 253_402_300_799;

/// One field for each register of the time, in binary and 24 hours; a guest can have set any of them to any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) second: u8,
    pub(super) minute: u8,
    pub(super) hour: u8,
    /// 1 is Sunday.
    pub(super) weekday: u8,
    pub(super) day: u8,
    pub(super) month: u8,
    /// Of the century.
    pub(super) year: u8,
    pub(super) century: u8,
}

impl DateTime {
    /// The date and time `seconds` after 1970-01-01 00:00 UTC, brought into the years 1970 to 9999.
    pub(super) fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(0, LAST);
        let (days, rest) = (seconds / DAY, seconds % DAY);
        // Years begin in March, so that the leap day is the last of its year.
        let (era, day) = ((days + EPOCH) / ERA, (days + EPOCH) % ERA);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next_year;
        Self {
            second: field(rest % 60),
            minute: field(rest / 60 % 60),
            hour: field(rest / 3600),
            weekday: field((days + 4) % 7 + 1),
            day: field(day),
            month: field(month),
            year: field(year % 100),
            century: field(year / 100),
        }
    }

    /// Seconds since 1970-01-01 00:00 UTC; days, hours and so on beyond their range count on into the next.
    pub(super) fn to_unix(self) -> i64 {
        let (month, day) = (i64::from(self.month.clamp(1, 12)), i64::from(self.day));
        let year = i64::from(self.century) * 100 + i64::from(self.year) - i64::from(month <= 2);
        let month = (month + 9) % 12;
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let days = era * ERA + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - EPOCH;
        days * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// The field behind a register, if there is one.
    pub(super) fn field(&mut self, index: u8) -> Option<&mut u8> {
        Some(match index {
            0 => &mut self.second,
            2 => &mut self.minute,
            HOURS => &mut self.hour,
            6 => &mut self.weekday,
            7 => &mut self.day,
            8 => &mut self.month,
            9 => &mut self.year,
            CENTURY => &mut self.century,
            _ => return None,
        })
    }
}

/// The arithmetic above keeps every field below 100.
fn field(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(seconds: i64) -> (u8, u8, u8, u8, u8) {
        let time = DateTime::from_unix(seconds);
        (time.century, time.year, time.month, time.day, time.weekday)
    }

    #[test]
    fn known_days() {
        assert_eq!(date(0), (19, 70, 1, 1, 5));
        assert_eq!(date(951_782_400), (20, 0, 2, 29, 3));
        assert_eq!(date(1_709_164_800), (20, 24, 2, 29, 5));
        assert_eq!(date(4_107_542_400), (21, 0, 3, 1, 2));
        assert_eq!(date(LAST), (99, 99, 12, 31, 6));
        assert_eq!(DateTime::from_unix(i64::MAX), DateTime::from_unix(LAST));
        assert_eq!(DateTime::from_unix(i64::MIN), DateTime::from_unix(0));
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = DateTime::from_unix(0);
        for seconds in (DAY..LAST).step_by(86_400) {
            let day = DateTime::from_unix(seconds);
            assert_eq!(day.to_unix(), seconds);
            assert_eq!(day.weekday, before.weekday % 7 + 1);
            assert!(
                day.day == before.day + 1 || day.day == 1 && before.day >= 28,
                "{day:?} after {before:?}"
            );
            before = day;
        }
    }

    proptest! {
        #[test]
        fn every_second_survives_the_registers(seconds in 0..=LAST) {
            prop_assert_eq!(DateTime::from_unix(seconds).to_unix(), seconds);
        }
    }
}
