//! `Slots`: things by small numbers that are used again.

/// Things by small numbers that are used again, for mio's tokens.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, thing: T) -> usize {
        if let Some(slot) = self.free.pop() {
            self.places[slot] = Some(thing);
            return slot;
        }
        self.places.push(Some(thing));
        self.places.len() - 1
    }

    /// The number that [`insert`](Self::insert) uses next.
    pub(crate) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    pub(crate) fn at(&mut self, slot: usize) -> Option<&mut T> {
        self.places.get_mut(slot)?.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<T> {
        let thing = self.places.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(thing)
    }

    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.iter().map(|(slot, _)| slot).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, thing)| Some((slot, thing.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_and_only_then() {
        let mut slots = Slots::new();
        assert_eq!((slots.next(), slots.insert('a'), slots.insert('b')), (0, 0, 1));
        assert_eq!((slots.remove(0), slots.remove(0), slots.len()), (Some('a'), None, 1));
        assert_eq!((slots.next(), slots.insert('c'), slots.numbers()), (0, 0, vec![0, 1]));
        assert_eq!(slots.at(1), Some(&mut 'b'));
        assert_eq!(slots.at(2), None);
    }
}
