//! A sorted map that is shared with its clones: a B+tree of `Arc`ed nodes.
//!
//! Cloning costs nothing; a change after it copies one node per level. Keys that are appended in order leave full nodes
//! behind. A node that has become small is merged with its neighbour. What would change nothing copies nothing.

use std::borrow::Borrow;
use std::sync::Arc;

const NODE_MAX: usize = 64;
/// A node below this looks for a neighbour to merge with.
const NODE_MIN: usize = NODE_MAX / 4;

pub struct Tree<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with a bound that no key of it is below, nor any key of the child before above. The first child's
    /// bound counts for nothing.
    Branch(Vec<(K, Arc<Node<K, V>>)>),
}

use Node::{Branch, Leaf};

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Leaf(items) => {
                    let at = items.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some((&items[at].0, &items[at].1));
                }
                Branch(children) => node = &children[child_of(children, key)].1,
            }
        }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let mut node = Arc::make_mut(self.root.as_mut()?);
        loop {
            match node {
                Leaf(items) => {
                    let at = items.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&mut items[at].1);
                }
                Branch(children) => {
                    let at = child_of(children, key);
                    node = Arc::make_mut(&mut children[at].1);
                }
            }
        }
    }

    /// Stores a value; answers the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let (old, split) = insert(root, key, value);
        if let Some((bound, right)) = split {
            let left = (bound.clone(), root.clone());
            *root = Arc::new(Branch(vec![left, (bound, right)]));
        }
        self.len += usize::from(old.is_none());
        old
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let root = self.root.as_mut()?;
        let value = remove(root, key);
        self.len -= 1;
        while let Branch(children) = &**root
            && children.len() == 1
        {
            *root = children[0].1.clone();
        }
        if self.len == 0 {
            self.root = None;
        }
        value
    }

    /// Lets the items below `key` go, or those from it on, without a look at what goes with its node.
    pub fn cut(&mut self, key: &K, goes: Goes) {
        let Some(root) = &mut self.root else { return };
        self.len -= cut(root, key, goes);
        while let Branch(children) = &**root
            && children.len() == 1
        {
            *root = children[0].1.clone();
        }
        if self.len == 0 {
            self.root = None;
        }
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    pub fn last(&self) -> Option<(&K, &V)> {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Leaf(items) => return items.last().map(|(key, value)| (key, value)),
                Branch(children) => node = &children.last()?.1,
            }
        }
    }

    /// The value of the greatest key, to be changed.
    pub fn last_mut(&mut self) -> Option<(&K, &mut V)> {
        let mut node = Arc::make_mut(self.root.as_mut()?);
        loop {
            match node {
                Leaf(items) => return items.last_mut().map(|(key, value)| (&*key, value)),
                Branch(children) => node = Arc::make_mut(&mut children.last_mut()?.1),
            }
        }
    }

    /// The greatest key that is not above `key`.
    pub fn floor(&self, key: &K) -> Option<(&K, &V)> {
        self.root.as_deref()?.leaf_until(key, Edge::Included)?.last().map(|(key, value)| (key, value))
    }

    /// All items in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let items = self.root.as_deref().map_or(&[][..], Node::first_leaf);
        Iter { root: self.root.as_deref(), items, last: None }
    }

    /// The items from `key` on, in order.
    pub fn iter_from(&self, key: &K) -> Iter<'_, K, V> {
        let root = self.root.as_deref();
        let items = root.and_then(|root| root.leaf_from(key, Edge::Included)).unwrap_or_default();
        Iter { root, items, last: None }
    }

    /// The items from `key` back to the first.
    pub fn iter_back_from(&self, key: &K) -> IterBack<'_, K, V> {
        let root = self.root.as_deref();
        let items = root.and_then(|root| root.leaf_until(key, Edge::Included)).unwrap_or_default();
        IterBack { root, items, last: None }
    }

    /// Bytes of the nodes, and those that `of_item` tells of.
    pub fn memory_bytes(&self, of_item: impl Fn(&K, &V) -> usize) -> usize {
        self.root.as_deref().map_or(0, |root| root.memory_bytes(&of_item))
    }

    #[cfg(test)]
    fn check(&self) {
        let Some(root) = self.root.as_deref() else { return assert_eq!(self.len, 0) };
        assert_eq!(root.check(None, None).1, self.len);
    }
}

/// The side of a key on which items go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    Below,
    FromOn,
}

/// Whether the key that is looked for belongs to what is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Included,
    Excluded,
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Leaf(items) => items.len(),
            Branch(children) => children.len(),
        }
    }

    /// Items below.
    fn items_len(&self) -> usize {
        match self {
            Leaf(items) => items.len(),
            Branch(children) => children.iter().map(|(_, child)| child.items_len()).sum(),
        }
    }

    fn first_leaf(&self) -> &[(K, V)] {
        match self {
            Leaf(items) => items,
            Branch(children) => children[0].1.first_leaf(),
        }
    }

    fn last_leaf(&self) -> &[(K, V)] {
        match self {
            Leaf(items) => items,
            Branch(children) => children[children.len() - 1].1.last_leaf(),
        }
    }

    /// The rest of the leaf that holds the first item from `key` on.
    fn leaf_from(&self, key: &K, edge: Edge) -> Option<&[(K, V)]> {
        match self {
            Leaf(items) => {
                let from = items.partition_point(|(k, _)| k < key || edge == Edge::Excluded && k == key);
                (from < items.len()).then(|| &items[from..])
            }
            Branch(children) => {
                let at = child_of(children, key);
                let next = || children.get(at + 1).map(|(_, child)| child.first_leaf());
                children[at].1.leaf_from(key, edge).or_else(next)
            }
        }
    }

    /// The beginning of the leaf that holds the last item up to `key`.
    fn leaf_until(&self, key: &K, edge: Edge) -> Option<&[(K, V)]> {
        match self {
            Leaf(items) => {
                let end = items.partition_point(|(k, _)| k < key || edge == Edge::Included && k == key);
                (end > 0).then(|| &items[..end])
            }
            Branch(children) => {
                let at = child_of(children, key);
                let previous = || children[..at].last().map(|(_, child)| child.last_leaf());
                children[at].1.leaf_until(key, edge).or_else(previous)
            }
        }
    }

    fn memory_bytes(&self, of_item: &impl Fn(&K, &V) -> usize) -> usize {
        /// The two counters of an `Arc` and the node itself.
        const NODE_BYTES: usize = 16 + 32;
        NODE_BYTES
            + match self {
                Leaf(items) => {
                    items.capacity() * size_of::<(K, V)>()
                        + items.iter().map(|(key, value)| of_item(key, value)).sum::<usize>()
                }
                Branch(children) => {
                    children.capacity() * size_of::<(K, Arc<Self>)>()
                        + children.iter().map(|(_, child)| child.memory_bytes(of_item)).sum::<usize>()
                }
            }
    }

    /// Depth and items below; every key is within the bounds.
    #[cfg(test)]
    fn check(&self, from: Option<&K>, to: Option<&K>) -> (usize, usize) {
        assert!((1..=NODE_MAX).contains(&self.len()));
        match self {
            Leaf(items) => {
                assert!(items.is_sorted_by(|a, b| a.0 < b.0));
                assert!(items.iter().all(|(k, _)| from.is_none_or(|from| from <= k)));
                assert!(items.iter().all(|(k, _)| to.is_none_or(|to| k < to)));
                (0, items.len())
            }
            Branch(children) => {
                let below = children.iter().enumerate().map(|(i, (bound, child))| {
                    let from = if i == 0 { from } else { Some(bound) };
                    child.check(from, children.get(i + 1).map(|(bound, _)| bound).or(to))
                });
                let below: Vec<(usize, usize)> = below.collect();
                assert!(below.iter().all(|&(depth, _)| depth == below[0].0), "all leaves are at one depth");
                (below[0].0 + 1, below.iter().map(|&(_, len)| len).sum())
            }
        }
    }
}

/// The child that holds `key` if any does.
fn child_of<K: Borrow<Q>, Q: Ord + ?Sized, C>(children: &[(K, C)], key: &Q) -> usize {
    children.partition_point(|(bound, _)| bound.borrow() <= key).saturating_sub(1)
}

/// A new right neighbour and the bound between the two.
type Split<K, V> = Option<(K, Arc<Node<K, V>>)>;

fn insert<K: Ord + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    key: K,
    value: V,
) -> (Option<V>, Split<K, V>) {
    match Arc::make_mut(node) {
        Leaf(items) => match items.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => (Some(std::mem::replace(&mut items[at].1, value)), None),
            Err(at) => {
                let right = insert_or_split(items, at, (key, value));
                (None, right.map(|items| (items[0].0.clone(), Arc::new(Leaf(items)))))
            }
        },
        Branch(children) => {
            let at = child_of(children, &key);
            let (old, split) = insert(&mut children[at].1, key, value);
            let right = split.and_then(|child| insert_or_split(children, at + 1, child));
            (old, right.map(|children| (children[0].0.clone(), Arc::new(Branch(children)))))
        }
    }
}

/// Inserts at `at`; from a full node its right part is cut off, nothing of it if the new item comes last.
fn insert_or_split<T>(items: &mut Vec<T>, at: usize, item: T) -> Option<Vec<T>> {
    if items.len() < NODE_MAX {
        items.insert(at, item);
        return None;
    }
    if at == items.len() {
        return Some(vec![item]);
    }
    let middle = NODE_MAX / 2;
    let mut right = items.split_off(middle);
    if at <= middle {
        items.insert(at, item);
    } else {
        right.insert(at - middle, item);
    }
    Some(right)
}

/// Cuts off one side of `key`; answers how many items have gone. The node may be empty then.
fn cut<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K, goes: Goes) -> usize {
    match Arc::make_mut(node) {
        Leaf(items) => {
            let at = items.partition_point(|(k, _)| k < key);
            let range = if goes == Goes::Below { 0..at } else { at..items.len() };
            items.drain(range).count()
        }
        Branch(children) => {
            let at = child_of(children, key);
            let range = if goes == Goes::Below { 0..at } else { at + 1..children.len() };
            let mut gone = children.drain(range).map(|(_, child)| child.items_len()).sum::<usize>();
            let at = if goes == Goes::Below { 0 } else { children.len() - 1 };
            gone += cut(&mut children[at].1, key, goes);
            match children[at].1.len() {
                0 => drop(children.remove(at)),
                len if len < NODE_MIN => merge(children, at),
                _ => {}
            }
            gone
        }
    }
}

/// Removes a key that is known to be there.
fn remove<K: Ord + Clone + Borrow<Q>, V: Clone, Q: Ord + ?Sized>(
    node: &mut Arc<Node<K, V>>,
    key: &Q,
) -> Option<V> {
    match Arc::make_mut(node) {
        Leaf(items) => {
            let at = items.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
            Some(items.remove(at).1)
        }
        Branch(children) => {
            let at = child_of(children, key);
            let value = remove(&mut children[at].1, key);
            match children[at].1.len() {
                0 => drop(children.remove(at)),
                len if len < NODE_MIN => merge(children, at),
                _ => {}
            }
            value
        }
    }
}

/// Unites the small child at `at` with a neighbour where both leave room in one node.
fn merge<K: Ord + Clone, V: Clone>(children: &mut Vec<(K, Arc<Node<K, V>>)>, at: usize) {
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    let Some((_, right)) = children.get(left + 1) else { return };
    if children[left].1.len() + right.len() > NODE_MAX * 3 / 4 {
        return;
    }
    let (bound, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Leaf(left), Leaf(right)) => left.extend(right),
        (Branch(left), Branch(mut right)) => {
            // The bound of a first child counted for nothing; here it is not the first any more.
            right[0].0 = bound;
            left.extend(right);
        }
        _ => unreachable!("all leaves are at one depth"),
    }
}

/// Items in order. Goes from leaf to leaf by looking up what follows the last key.
pub struct Iter<'a, K, V> {
    root: Option<&'a Node<K, V>>,
    items: &'a [(K, V)],
    last: Option<&'a K>,
}

impl<'a, K: Ord + Clone, V: Clone> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.items.is_empty() {
            self.items = self.root?.leaf_from(self.last?, Edge::Excluded)?;
        }
        let ((key, value), rest) = self.items.split_first()?;
        (self.items, self.last) = (rest, Some(key));
        Some((key, value))
    }
}

/// Items from the back.
pub struct IterBack<'a, K, V> {
    root: Option<&'a Node<K, V>>,
    items: &'a [(K, V)],
    last: Option<&'a K>,
}

impl<'a, K: Ord + Clone, V: Clone> Iterator for IterBack<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.items.is_empty() {
            self.items = self.root?.leaf_until(self.last?, Edge::Excluded)?;
        }
        let ((key, value), rest) = self.items.split_last()?;
        (self.items, self.last) = (rest, Some(key));
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check_equal(tree: &Tree<u32, u32>, model: &BTreeMap<u32, u32>) {
        tree.check();
        assert!(tree.iter().eq(model.iter()));
        assert!(tree.iter_back_from(&u32::MAX).eq(model.iter().rev()));
        assert_eq!(tree.first(), model.first_key_value());
        assert_eq!(tree.last(), model.last_key_value());
    }

    #[test]
    fn ascending_keys_leave_full_leaves() {
        let mut tree = Tree::default();
        (0..10_000u32).for_each(|key| assert_eq!(tree.insert(key, ()), None));
        tree.check();
        let bytes = tree.memory_bytes(|_, _| 0);
        assert!(bytes < 10_000 * 6, "{bytes}");
        (0..10_000u32).for_each(|key| assert_eq!(tree.remove(&key), Some(())));
        assert_eq!(tree.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_tree_is_a_sorted_map_and_its_clones_stay_as_they_are(
            steps in prop::collection::vec((0u8..8, 0u32..1500), 0..3000),
        ) {
            let (mut tree, mut model) = (Tree::<u32, u32>::default(), BTreeMap::new());
            let mut frozen = (tree.clone(), model.clone());
            for (step, (what, key)) in steps.into_iter().enumerate() {
                match what {
                    0..=3 => prop_assert_eq!(tree.insert(key, step as u32), model.insert(key, step as u32)),
                    4 => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                    5 if step % 50 == 0 => {
                        let goes = if key % 2 == 0 { Goes::Below } else { Goes::FromOn };
                        tree.cut(&key, goes);
                        let from_on = model.split_off(&key);
                        if goes == Goes::Below {
                            model = from_on;
                        }
                        tree.check();
                    }
                    5 => {
                        // A whole stretch goes, so that nodes merge.
                        for key in key..key + 90 {
                            prop_assert_eq!(tree.remove(&key), model.remove(&key));
                        }
                    }
                    6 => {
                        prop_assert_eq!(tree.floor(&key), model.range(..=key).next_back());
                        prop_assert!(tree.iter_from(&key).take(200).eq(model.range(key..).take(200)));
                        prop_assert!(tree.iter_back_from(&key).take(200).eq(model.range(..=key).rev().take(200)));
                        if let Some(value) = tree.get_mut(&key) {
                            *value += 1;
                            *model.get_mut(&key).unwrap() += 1;
                        }
                        prop_assert_eq!(tree.last_mut().map(|(k, v)| (*k, *v)), model.last_key_value().map(|(k, v)| (*k, *v)));
                    }
                    _ if step % 5 == 0 => {
                        check_equal(&frozen.0, &frozen.1);
                        frozen = (tree.clone(), model.clone());
                    }
                    _ => {}
                }
                prop_assert_eq!(tree.len(), model.len());
                prop_assert_eq!(tree.get(&key), model.get(&key));
            }
            check_equal(&tree, &model);
            check_equal(&frozen.0, &frozen.1);
        }
    }
}
