//! The bytes of a segment's entries, in pages that snapshots share: a writer copies the one page that it changes.
//!
//! Pages are all of one size and never move, so that a growing data set leaves no holes behind for the allocator, and an
//! entry lies in one page as a whole. An address is the number of the page and the place in it, in 16 bits.
//!
//! The arena knows how many bytes of a page are garbage, but not which: its owner knows the living entries and moves them
//! together (`compact`).

use arrayvec::ArrayVec;

use super::cow::Cow;
use super::prefetch::prefetch;

/// With the two counters of its `Arc`, a page fills a size class of the allocator.
pub(super) const PAGE_BYTES: usize = 2048 - 16;
pub(super) const PAGES_MAX: usize = 32;

const PLACE_BITS: u32 = 11;
const PLACE_MASK: usize = (1 << PLACE_BITS) - 1;

#[derive(Debug, Clone)]
#[repr(align(8))]
pub(super) struct Page(pub [u8; PAGE_BYTES]);

/// Where an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub u16);

impl Address {
    fn new(page: usize, place: usize) -> Self {
        Self((page << PLACE_BITS | place) as u16)
    }

    pub fn page(self) -> usize {
        usize::from(self.0) >> PLACE_BITS
    }

    pub fn place(self) -> usize {
        usize::from(self.0) & PLACE_MASK
    }
}

#[derive(Debug, Clone, Default)]
#[repr(C)]
pub(super) struct Arena {
    /// Bytes that entries take.
    live_bytes: u32,
    /// Bytes of shared pages that were copied to be changed, since they were last asked for.
    copied_bytes: u32,
    /// Where the last entry was put.
    current: u8,
    pages: ArrayVec<Cow<Page>, PAGES_MAX>,
    /// Where the free end of each page begins.
    used: [u16; PAGES_MAX],
    /// Bytes before it that belong to no entry.
    garbage: [u16; PAGES_MAX],
}

impl Arena {
    /// The bytes from an entry's first to the end of its page.
    #[inline]
    pub fn at(&self, address: Address) -> &[u8] {
        &self.pages[address.page()].0[address.place()..]
    }

    #[inline]
    pub fn at_mut(&mut self, address: Address) -> &mut [u8] {
        &mut self.page_mut(address.page())[address.place()..]
    }

    /// The same if no snapshot shares the page.
    #[inline]
    pub fn at_mut_unshared(&mut self, address: Address) -> Option<&mut [u8]> {
        Some(&mut self.pages[address.page()].get_mut()?.0[address.place()..])
    }

    /// The address in memory, for a prefetch.
    #[inline]
    pub fn pointer(&self, address: Address) -> Option<*const u8> {
        Some(self.pages.get(address.page())?.as_ptr().cast::<u8>().wrapping_add(address.place()))
    }

    /// Begins to load what tells where the next entry goes.
    #[inline]
    pub fn prefetch_room(&self) {
        prefetch(&self.used[usize::from(self.current)]);
    }

    /// Where the next entry probably goes, for a prefetch.
    #[inline]
    pub fn next_pointer(&self) -> Option<*const u8> {
        let page = usize::from(self.current);
        Some(self.pages.get(page)?.as_ptr().cast::<u8>().wrapping_add(usize::from(self.used[page])))
    }

    fn page_mut(&mut self, index: usize) -> &mut [u8; PAGE_BYTES] {
        let page = &mut self.pages[index];
        if page.is_shared() {
            self.copied_bytes = self.copied_bytes.saturating_add(PAGE_BYTES as u32);
        }
        &mut page.make_mut().0
    }

    /// Bytes that entries take.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes as usize
    }

    fn live_in(&self, page: usize) -> usize {
        usize::from(self.used[page] - self.garbage[page])
    }

    fn pages_in_use(&self) -> std::ops::Range<usize> {
        0..self.pages.len()
    }

    pub fn pages_len(&self) -> usize {
        self.pages.len()
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.pages.len() * (PAGE_BYTES + 16)
    }

    /// What was copied since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        u64::from(std::mem::take(&mut self.copied_bytes))
    }

    /// A place for `size` bytes in a page that has room at its end; none if there is no such page. They count as living.
    pub fn take_room(&mut self, size: usize) -> Option<Address> {
        let has_room = |&page: &usize| usize::from(self.used[page]) + size <= PAGE_BYTES;
        let current =
            Some(usize::from(self.current)).filter(|page| *page < self.pages.len() && has_room(page));
        let page = current.or_else(|| self.pages_in_use().find(has_room))?;
        self.current = page as u8;
        let address = Address::new(page, usize::from(self.used[page]));
        self.used[page] += size as u16;
        self.live_bytes += size as u32;
        Some(address)
    }

    /// The page that has the most garbage, if moving its entries together makes room for `size` bytes; unless there is
    /// need, only if that is worth the work.
    pub fn page_to_compact(&self, size: usize, is_needed: bool) -> Option<usize> {
        let worth = if is_needed { 1 } else { PAGE_BYTES / 8 };
        self.pages_in_use()
            .filter(|&page| {
                self.live_in(page) + size <= PAGE_BYTES && usize::from(self.garbage[page]) >= worth
            })
            .max_by_key(|&page| self.garbage[page])
    }

    /// Adds an empty page; false if there are as many as can be.
    pub fn add_page(&mut self) -> bool {
        let index = self.pages.len();
        if index == PAGES_MAX {
            return false;
        }
        self.pages.push(Cow::new(Page([0; PAGE_BYTES])));
        (self.used[index], self.garbage[index]) = (0, 0);
        true
    }

    /// Takes the last page out, with the entries in it: its index and its bytes. An empty page before it stays, since the
    /// entries may need it.
    pub fn take_last_page(&mut self) -> (usize, Cow<Page>) {
        let page = self.pages.pop().expect("the owner has seen that there are pages");
        let index = self.pages.len();
        self.live_bytes -= self.live_in(index) as u32;
        (index, page)
    }

    /// Gives back the bytes of an entry.
    pub fn free(&mut self, address: Address, size: usize) {
        let page = address.page();
        self.live_bytes -= size as u32;
        if address.place() + size == usize::from(self.used[page]) {
            self.used[page] -= size as u16;
        } else {
            self.garbage[page] += size as u16;
        }
        if self.garbage[page] == self.used[page] {
            (self.used[page], self.garbage[page]) = (0, 0);
        }
        self.trim();
    }

    /// Lets empty pages at the end go; one in the middle is filled again.
    pub fn trim(&mut self) {
        while self.pages.len() > 1 && self.used[self.pages.len() - 1] == 0 {
            self.pages.pop();
        }
    }

    /// Moves the living entries of a page together. `entries` are all of them with their sizes, in the order in which they
    /// lie; each is told its new address.
    pub fn compact(
        &mut self,
        page: usize,
        entries: impl Iterator<Item = (Address, usize)>,
        mut moved: impl FnMut(Address, Address),
    ) {
        let bytes = self.page_mut(page);
        let mut end = 0;
        for (from, size) in entries {
            debug_assert_eq!(from.page(), page);
            bytes.copy_within(from.place()..from.place() + size, end);
            moved(from, Address::new(page, end));
            end += size;
        }
        self.used[page] = end as u16;
        self.garbage[page] = 0;
    }
}
