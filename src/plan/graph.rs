//! The graph of a plan's tasks: cycles, a stable order, waves.
//!
//! Nodes are places in the plan, edges run from a task to those that wait for it. Everything is iterative: a plan is
//! as deep as its author likes, and a stack is not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use moothall_actors::domain::id::TaskId;
use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::task::PlannedTask;

/// Which task waits for which, by place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    edges: DiGraph<(), ()>,
}

impl Graph {
    /// A graph of `needs`: for each task the places of those that it depends on. Places beyond the last are left out.
    pub(crate) fn new(needs: &[Vec<usize>]) -> Self {
        let mut edges = DiGraph::with_capacity(needs.len(), needs.iter().map(Vec::len).sum());
        needs.iter().for_each(|_| {
            edges.add_node(());
        });
        for (task, needed) in needs.iter().enumerate() {
            for &other in needed.iter().filter(|&&other| other < needs.len()) {
                edges.add_edge(NodeIndex::new(other), NodeIndex::new(task), ());
            }
        }
        Self { edges }
    }

    /// The graph of tasks whose dependencies are all among them; others are left out, as are those already done.
    pub(crate) fn of_open(tasks: &[&PlannedTask]) -> Self {
        let places: BTreeMap<&TaskId, usize> =
            tasks.iter().enumerate().map(|(place, task)| (&task.id, place)).collect();
        let needed = |task: &&PlannedTask| task.dependencies.iter().filter_map(|id| places.get(id).copied()).collect();
        let needs: Vec<Vec<usize>> = tasks.iter().map(needed).collect();
        Self::new(&needs)
    }

    fn next(&self, task: usize, direction: Direction) -> impl Iterator<Item = usize> {
        self.edges.neighbors_directed(NodeIndex::new(task), direction).map(NodeIndex::index)
    }

    /// One cycle of every knot of tasks that wait for each other: the shortest through its first task. Each task
    /// waits for the next, the last for the first.
    pub(crate) fn cycles(&self) -> Vec<Vec<usize>> {
        let mut knots: Vec<BTreeSet<usize>> = kosaraju_scc(&self.edges)
            .into_iter()
            .filter(|knot| knot.len() > 1 || knot.iter().any(|&task| self.edges.contains_edge(task, task)))
            .map(|knot| knot.into_iter().map(NodeIndex::index).collect())
            .collect();
        knots.sort();
        knots.iter().filter_map(|knot| self.shortest_cycle(knot)).collect()
    }

    /// Breadth first from the knot's first task along what it waits for, until something waits for that task.
    fn shortest_cycle(&self, knot: &BTreeSet<usize>) -> Option<Vec<usize>> {
        let first = *knot.first()?;
        let mut reached_from = BTreeMap::from([(first, first)]);
        let mut ahead = VecDeque::from([first]);
        while let Some(task) = ahead.pop_front() {
            let needed: BTreeSet<usize> = self.next(task, Direction::Incoming).collect();
            if needed.contains(&first) {
                return Some(walk_back(&reached_from, first, task));
            }
            for other in needed.intersection(knot) {
                if let std::collections::btree_map::Entry::Vacant(place) = reached_from.entry(*other) {
                    place.insert(task);
                    ahead.push_back(*other);
                }
            }
        }
        None
    }

    /// Every task after those it needs, else in the order given; `None` if there is a cycle.
    pub(crate) fn order(&self) -> Option<Vec<usize>> {
        let count = self.edges.node_count();
        let mut open: Vec<usize> = (0..count).map(|task| self.next(task, Direction::Incoming).count()).collect();
        let mut ready: BinaryHeap<Reverse<usize>> =
            open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(task, _)| Reverse(task)).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(Reverse(task)) = ready.pop() {
            order.push(task);
            for waiting in self.next(task, Direction::Outgoing) {
                if let Some(left) = open.get_mut(waiting) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(Reverse(waiting));
                    }
                }
            }
        }
        (order.len() == count).then_some(order)
    }

    /// Tasks that can run side by side: each wave needs only earlier ones. Empty if there is a cycle.
    pub(crate) fn waves(&self) -> Vec<Vec<usize>> {
        let order = self.order().unwrap_or_default();
        let mut wave_of = vec![0usize; self.edges.node_count()];
        let mut waves: Vec<Vec<usize>> = Vec::new();
        for task in order {
            let after = |needed: usize| wave_of.get(needed).map_or(0, |wave| wave + 1);
            let wave = self.next(task, Direction::Incoming).map(after).max().unwrap_or(0);
            if let Some(own) = wave_of.get_mut(task) {
                *own = wave;
            }
            if waves.len() <= wave {
                waves.resize_with(wave + 1, Vec::new);
            }
            if let Some(tasks) = waves.get_mut(wave) {
                tasks.push(task);
            }
        }
        waves.iter_mut().for_each(|tasks| tasks.sort_unstable());
        waves
    }
}

/// The way from `first` to `last`, as `reached_from` tells it backwards.
fn walk_back(reached_from: &BTreeMap<usize, usize>, first: usize, last: usize) -> Vec<usize> {
    let mut way = vec![last];
    let mut here = last;
    while here != first {
        let Some(before) = reached_from.get(&here) else { break };
        here = *before;
        way.push(here);
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(needs: &[&[usize]]) -> Graph {
        Graph::new(&needs.iter().map(|needed| needed.to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn order_is_that_of_the_plan_where_dependencies_allow() {
        assert_eq!(graph(&[&[], &[], &[]]).order(), Some(vec![0, 1, 2]));
        assert_eq!(graph(&[&[2], &[], &[], &[]]).order(), Some(vec![1, 2, 0, 3]));
        assert_eq!(graph(&[]).order(), Some(vec![]));
    }

    #[test]
    fn waves_hold_what_can_run_side_by_side() {
        assert_eq!(graph(&[&[], &[0], &[0], &[1, 2], &[]]).waves(), vec![vec![0, 4], vec![1, 2], vec![3]]);
    }

    #[test]
    fn every_knot_gives_its_shortest_cycle() {
        let knots = graph(&[&[1], &[0, 2], &[1], &[4], &[5], &[3], &[6], &[]]);
        assert_eq!(knots.cycles(), vec![vec![0, 1], vec![3, 4, 5], vec![6]]);
        assert_eq!(knots.order(), None);
        assert!(knots.waves().is_empty());
    }

    /// A thread of a runtime has 2 MiB of stack; here it is an eighth of that.
    #[test]
    fn a_chain_of_the_longest_plan_needs_no_stack() {
        let chain = |closed: bool| {
            let count = super::super::limit::HARD_MAX_TASKS;
            let first = if closed { vec![count - 1] } else { vec![] };
            std::iter::once(first).chain((1..count).map(|task| vec![task - 1])).collect::<Vec<_>>()
        };
        let run = move || {
            let open = Graph::new(&chain(false));
            assert_eq!((open.waves().len(), open.cycles().len()), (super::super::limit::HARD_MAX_TASKS, 0));
            assert_eq!(Graph::new(&chain(true)).cycles()[0].len(), super::super::limit::HARD_MAX_TASKS);
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }

    fn any_needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1usize..14).prop_flat_map(|count| {
            let needed = prop::collection::btree_set(0..count, 0..3).prop_map(|set| set.into_iter().collect());
            prop::collection::vec(needed, count)
        })
    }

    proptest! {
        #[test]
        fn an_order_exists_exactly_without_cycles(needs in any_needs()) {
            let graph = Graph::new(&needs);
            prop_assert_eq!(graph.order().is_some(), graph.cycles().is_empty());
        }

        #[test]
        fn an_order_has_every_task_once_and_after_what_it_needs(needs in any_needs()) {
            if let Some(order) = Graph::new(&needs).order() {
                let place = |task: usize| order.iter().position(|other| *other == task).unwrap();
                for (task, needed) in needs.iter().enumerate() {
                    prop_assert!(needed.iter().all(|other| place(*other) < place(task)));
                }
                prop_assert_eq!(order.len(), needs.len());
            }
        }

        #[test]
        fn a_named_cycle_is_one(needs in any_needs()) {
            for cycle in Graph::new(&needs).cycles() {
                let nexts = cycle.iter().skip(1).chain(cycle.first());
                prop_assert!(cycle.iter().zip(nexts).all(|(task, next)| needs[*task].contains(next)));
                let distinct: BTreeSet<_> = cycle.iter().collect();
                prop_assert_eq!(distinct.len(), cycle.len());
            }
        }

        #[test]
        fn a_wave_needs_only_earlier_ones_and_the_one_before(needs in any_needs()) {
            let waves = Graph::new(&needs).waves();
            let wave_of = |task: usize| waves.iter().position(|wave| wave.contains(&task));
            for (task, needed) in needs.iter().enumerate() {
                let Some(own) = wave_of(task) else { continue };
                let latest = needed.iter().filter_map(|other| wave_of(*other)).max();
                prop_assert_eq!(latest.map_or(0, |wave| wave + 1), own);
            }
        }
    }
}
