//! `Learned`: behind which member an Ethernet address was seen.

use std::{collections::HashMap, sync::Arc};

use super::MOST_MEMBERS;
use crate::ethernet::{self, Mac};

/// Addresses that are known at once: more than guests have, unless one of them wants to be many.
const MOST_ADDRESSES: usize = 1024;

/// Addresses and the names of members.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    members: HashMap<Mac, Arc<str>>,
    /// Each name once.
    names: Vec<Arc<str>>,
}

impl Learned {
    /// A frame of `source` came from `name`.
    pub(crate) fn learn(&mut self, source: Mac, name: &str) {
        if !ethernet::is_unicast(source) || self.members.get(&source).is_some_and(|known| **known == *name) {
            return;
        }
        if self.members.len() >= MOST_ADDRESSES || self.names.len() > 2 * MOST_MEMBERS {
            // What is used is learned again.
            *self = Self::default();
        }
        let known = self.names.iter().find(|known| ***known == *name).cloned();
        let name = known.unwrap_or_else(|| {
            let name: Arc<str> = name.into();
            self.names.push(Arc::clone(&name));
            name
        });
        self.members.insert(source, name);
    }

    /// Where frames to `to` go; `None` if that is not known, or if they go to all.
    pub(crate) fn find(&self, to: Mac) -> Option<&str> {
        self.members.get(&to).map(|name| &**name)
    }

    /// `name` is gone.
    pub(crate) fn forget(&mut self, name: &str) {
        self.members.retain(|_, known| **known != *name);
        self.names.retain(|known| **known != *name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_move_are_forgotten_and_bounded() {
        let mut learned = Learned::default();
        learned.learn([2; 6], "one");
        learned.learn([3; 6], "one");
        learned.learn([4; 6], "two");
        assert_eq!(learned.find([4; 6]), Some("two"));
        learned.learn([4; 6], "one");
        assert_eq!(learned.find([4; 6]), Some("one"));
        learned.forget("one");
        assert_eq!(learned.find([4; 6]), None);
        assert_eq!(learned.find([2; 6]), None);
        learned.learn([0xff; 6], "one");
        assert_eq!(learned.find([0xff; 6]), None);
        for number in 0..5000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            learned.learn([2, 0, 0, a, b, c], &format!("guest-{}", number % 200));
            assert!(learned.members.len() <= MOST_ADDRESSES && learned.names.len() <= 2 * MOST_MEMBERS + 1);
        }
    }
}
