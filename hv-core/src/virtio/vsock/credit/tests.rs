//! Credit against a model that counts without end.

use proptest::prelude::*;

use super::*;

/// What happens on a connection; numbers are asked for, and less happens where credit does not last.
#[derive(Debug, Clone, Copy)]
enum Event {
    SendToGuest(u32),
    GuestPassesOn(u32),
    GuestSpeaks,
    GuestResizes(u32),
    GuestSends(u32),
    HostTakes(u32),
    Tell,
}

fn event() -> impl Strategy<Value = Event> {
    let count = prop_oneof![0..16_u32, 0..BUF_ALLOC + 2];
    (0..7_u8, count).prop_map(|(kind, count)| match kind {
        0 => Event::SendToGuest(count),
        1 => Event::GuestPassesOn(count),
        2 => Event::GuestSpeaks,
        3 => Event::GuestResizes(count),
        4 => Event::GuestSends(count),
        5 => Event::HostTakes(count),
        _ => Event::Tell,
    })
}

/// Both sides with counters that do not wrap.
#[derive(Debug)]
struct Model {
    sent: u64,
    guest_passed_on: u64,
    guest_buf_alloc: u32,
    /// What we heard last.
    heard: (u32, u64),
    received: u64,
    passed_on: u64,
    told: u64,
}

fn low(wide: u64) -> u32 {
    u32::try_from(wide & u64::from(u32::MAX)).unwrap()
}

proptest! {
    #[test]
    fn counters_that_wrap_say_what_counters_without_end_say(
        start in prop_oneof![0..4_u32, u32::MAX - 2 * BUF_ALLOC..=u32::MAX, any::<u32>()],
        events in prop::collection::vec(event(), 0..200),
    ) {
        let wide = u64::from(start);
        let mut credit = Credit { sent: start, guest_fwd_cnt: start, fwd_cnt: start, told: start, ..Credit::default() };
        let mut model = Model {
            sent: wide, guest_passed_on: wide, guest_buf_alloc: 0, heard: (0, wide), received: wide, passed_on: wide, told: wide,
        };
        for event in events {
            match event {
                Event::SendToGuest(count) => {
                    let count = count.min(credit.may_send());
                    credit.send(count);
                    model.sent += u64::from(count);
                }
                Event::GuestPassesOn(count) => {
                    model.guest_passed_on = model.sent.min(model.guest_passed_on + u64::from(count));
                }
                Event::GuestResizes(size) => model.guest_buf_alloc = size,
                Event::GuestSpeaks => {
                    credit.hear(model.guest_buf_alloc, low(model.guest_passed_on));
                    model.heard = (model.guest_buf_alloc, model.guest_passed_on);
                }
                Event::GuestSends(count) => {
                    let kept = model.received - model.passed_on + u64::from(count);
                    let fits = kept <= u64::from(BUF_ALLOC);
                    prop_assert_eq!(credit.keep(count).is_ok(), fits);
                    if fits {
                        model.received += u64::from(count);
                    }
                }
                Event::HostTakes(count) => {
                    let count = u64::from(count).min(model.received - model.passed_on);
                    credit.pass_on(low(count));
                    model.passed_on += count;
                }
                Event::Tell => {
                    prop_assert_eq!(credit.tell(), (BUF_ALLOC, low(model.passed_on)));
                    model.told = model.passed_on;
                }
            }
            let (buf_alloc, fwd_cnt) = model.heard;
            let free = u64::from(buf_alloc).saturating_sub(model.sent - fwd_cnt);
            prop_assert_eq!(u64::from(credit.may_send()), free);
            prop_assert_eq!(credit.is_news(), model.passed_on - model.told >= u64::from(TELL_AT));
            // Never more under way than the guest said it keeps, unless it took that back.
            prop_assert!(model.sent - model.guest_passed_on <= u64::from(BUF_ALLOC) + 2);
        }
    }

    #[test]
    fn whatever_a_guest_says_is_no_more_than_it_keeps(sent: u32, buf_alloc: u32, fwd_cnt: u32) {
        let mut credit = Credit { sent, ..Credit::default() };
        credit.hear(buf_alloc, fwd_cnt);
        prop_assert!(credit.may_send() <= buf_alloc);
    }
}

#[test]
fn a_guest_without_credit_hears_of_each_quarter_that_is_passed_on() {
    let mut credit = Credit::default();
    credit.keep(BUF_ALLOC).unwrap();
    assert_eq!(credit.keep(1), Err(Overrun));
    credit.pass_on(TELL_AT - 1);
    assert!(!credit.is_news());
    credit.pass_on(1);
    assert!(credit.is_news());
    assert_eq!(credit.tell(), (BUF_ALLOC, TELL_AT));
    assert!(!credit.is_news());
    credit.keep(TELL_AT).unwrap();
}

#[test]
fn a_guest_that_counts_bytes_that_were_never_sent_gets_none() {
    let mut credit = Credit::default();
    credit.hear(1000, 5);
    assert_eq!(credit.may_send(), 0);
    credit.hear(1000, 0);
    assert_eq!(credit.may_send(), 1000);
}
