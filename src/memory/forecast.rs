//! What a run will come to, told by playing it without running a task.
//!
//! The run is played on the engine's own [`Scheduler`] with its own ranks, as if all
//! tasks took the same time. What holds of the answer:
//!
//! * A result counts from the moment at which its task starts, since the room for it is
//!   needed then, until its last holder has let go. With one worker this makes no difference: that
//!   moment's results are those that are there when the task ends.
//! * Results that are known before the run are not counted: whoever made the graph holds
//!   them, and no order of tasks changes that.
//! * With one worker the peak is exactly that of the run. With more it depends on how
//!   long tasks take, and the forecast is one of the ways in which it may go.

use crate::graph::{TaskGraph, TaskId};
use crate::scheduler::Scheduler;
use std::collections::VecDeque;

/// What is known of a run before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The tasks.
    pub graph: &'a TaskGraph,
    /// The rank of each: a permutation, and a topological order.
    pub rank: &'a [u32],
    /// Tasks whose results exist already.
    pub known: &'a [TaskId],
    /// Tasks whose results are held to the end.
    pub requested: &'a [TaskId],
    /// The size of each task's result, where it is known.
    pub bytes: &'a [Option<u64>],
}

/// The most that is live at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Results.
    pub results: usize,
    /// The task that first brings so many.
    pub results_at: Option<TaskId>,
    /// Bytes of results whose size is known.
    pub bytes: u64,
    /// The task that first brings so many bytes.
    pub bytes_at: Option<TaskId>,
    /// Results of unknown size beside those bytes; the most of them if equal bytes
    /// are reached again.
    pub unknown: usize,
}

/// The shape of a graph, which no order of tasks changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// How many tasks will run.
    pub tasks: usize,
    /// The longest chain of tasks that need each other, from the first to the last.
    pub critical_path: Vec<TaskId>,
    /// The most tasks that run at the same time if each starts as soon as it can.
    pub width: usize,
}

impl Shape {
    /// How many workers are busy on average if there are enough of them.
    pub fn parallelism(&self) -> f64 {
        match self.critical_path.len() {
            0 => 0.0,
            steps => self.tasks as f64 / steps as f64,
        }
    }
}

impl Plan<'_> {
    /// The peak if `workers` tasks run at the same time.
    ///
    /// ```
    /// use mars::memory::forecast::Plan;
    /// use mars::order::order;
    /// use mars::testing::graphs::{outputs, tree};
    ///
    /// let graph = tree(15);
    /// let plan = Plan {
    ///     rank: &order(&graph),
    ///     known: &[],
    ///     requested: &outputs(&graph),
    ///     bytes: &[Some(8); 15],
    ///     graph: &graph,
    /// };
    /// assert_eq!(plan.peak(1).results, 5); // one a level, and one more
    /// assert_eq!(plan.peak(1).bytes, 40);
    /// assert_eq!(plan.shape().critical_path.len(), 4);
    /// assert_eq!(plan.shape().width, 8);
    /// ```
    pub fn peak(&self, workers: usize) -> Peak {
        let mut scheduler = Scheduler::new(
            self.graph.clone(),
            self.rank.to_vec(),
            self.known,
            self.requested,
        );
        let is_known = self.is_known();
        let mut live = Live::default();
        // Equal times: whoever started first ends first.
        let mut running = VecDeque::new();
        let mut released = Vec::new();
        loop {
            while running.len() < workers.max(1)
                && let Some(task) = scheduler.start()
            {
                live.begin(task, self.bytes[task.index()]);
                running.push_back(task);
            }
            let Some(task) = running.pop_front() else {
                return live.peak;
            };
            released.clear();
            scheduler.finish(task, &mut released);
            for task in released.iter().filter(|task| !is_known[task.index()]) {
                live.end(self.bytes[task.index()]);
            }
        }
    }

    /// The shape of the graph.
    pub fn shape(&self) -> Shape {
        let is_known = self.is_known();
        let mut by_rank = vec![TaskId::new(0); self.graph.len()];
        for task in self.graph.tasks() {
            by_rank[self.rank[task.index()] as usize] = task;
        }
        // The step in which each task runs if each starts as soon as it can, from 1 on;
        // what is known is there in step 0.
        let mut step = vec![0_u32; self.graph.len()];
        let mut in_step: Vec<usize> = Vec::new();
        let mut last = None;
        for &task in by_rank.iter().filter(|task| !is_known[task.index()]) {
            let needs = self.graph.dependencies(task).iter();
            let before = needs.map(|d| step[d.index()]).max().unwrap_or(0);
            step[task.index()] = before + 1;
            if in_step.len() == before as usize {
                in_step.push(0);
                last = Some(task);
            }
            in_step[before as usize] += 1;
        }
        let mut critical_path = Vec::with_capacity(in_step.len());
        while let Some(task) = last {
            critical_path.push(task);
            let before = step[task.index()] - 1;
            let needs = self.graph.dependencies(task).iter().copied();
            last = needs
                .filter(|d| before > 0 && step[d.index()] == before)
                .min_by_key(|d| self.rank[d.index()]);
        }
        critical_path.reverse();
        Shape {
            tasks: in_step.iter().sum(),
            critical_path,
            width: in_step.into_iter().max().unwrap_or(0),
        }
    }

    fn is_known(&self) -> Vec<bool> {
        let mut is_known = vec![false; self.graph.len()];
        for task in self.known {
            is_known[task.index()] = true;
        }
        is_known
    }
}

/// What is live at one moment of the play, and the peak so far.
#[derive(Default)]
struct Live {
    results: usize,
    bytes: u64,
    unknown: usize,
    peak: Peak,
}

impl Live {
    fn begin(&mut self, task: TaskId, bytes: Option<u64>) {
        self.results += 1;
        match bytes {
            Some(bytes) => self.bytes = self.bytes.saturating_add(bytes),
            None => self.unknown += 1,
        }
        if self.results > self.peak.results {
            self.peak.results = self.results;
            self.peak.results_at = Some(task);
        }
        if (self.bytes, self.unknown) > (self.peak.bytes, self.peak.unknown) {
            if self.bytes > self.peak.bytes {
                self.peak.bytes_at = Some(task);
            }
            self.peak.bytes = self.bytes;
            self.peak.unknown = self.unknown;
        }
    }

    fn end(&mut self, bytes: Option<u64>) {
        self.results -= 1;
        match bytes {
            Some(bytes) => self.bytes = self.bytes.saturating_sub(bytes),
            None => self.unknown -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Hints, order_with};
    use crate::testing::graphs::{chain, diamonds, flat, graph, layered, outputs};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn id(i: usize) -> TaskId {
        TaskId::new(i)
    }

    fn ids(tasks: &[usize]) -> Vec<TaskId> {
        tasks.iter().copied().map(id).collect()
    }

    /// What is asked of a graph, and all that a plan borrows.
    #[derive(Debug, Clone)]
    struct Case {
        graph: TaskGraph,
        known: Vec<TaskId>,
        requested: Vec<TaskId>,
        bytes: Vec<Option<u64>>,
        rank: Vec<u32>,
    }

    impl Case {
        fn new(graph: TaskGraph, known: &[usize], bytes: Vec<Option<u64>>) -> Self {
            let (known, requested) = (ids(known), outputs(&graph));
            let hints = Hints {
                known: &known,
                requested: &requested,
            };
            let rank = order_with(&graph, hints);
            Case {
                graph,
                known,
                requested,
                bytes,
                rank,
            }
        }

        fn of(graph: TaskGraph) -> Self {
            let bytes = vec![None; graph.len()];
            Case::new(graph, &[], bytes)
        }

        fn plan(&self) -> Plan<'_> {
            Plan {
                graph: &self.graph,
                rank: &self.rank,
                known: &self.known,
                requested: &self.requested,
                bytes: &self.bytes,
            }
        }

        /// What is live when the task of each rank has a result and has let go of nothing yet,
        /// found anew for every rank.
        fn live_at_each_rank(&self) -> Vec<Vec<TaskId>> {
            let rank = |task: TaskId| self.rank[task.index()];
            let to_run: Vec<_> = (self.graph.tasks())
                .filter(|task| !self.known.contains(task))
                .collect();
            let is_needed_at = |task: TaskId, now: u32| {
                self.requested.contains(&task)
                    || rank(task) == now
                    || (self.graph.dependents(task).iter())
                        .any(|d| to_run.contains(d) && rank(*d) >= now)
            };
            (to_run.iter())
                .map(|now| {
                    let began = to_run.iter().filter(|t| rank(**t) <= rank(*now));
                    let live = began.filter(|t| is_needed_at(**t, rank(*now)));
                    live.copied().collect()
                })
                .collect()
        }
    }

    #[test]
    fn a_chain_has_two_results_and_no_parallelism() {
        let case = Case::of(chain(5));
        let peak = case.plan().peak(4);
        assert_eq!((peak.results, peak.unknown), (2, 2));
        assert_eq!(peak.results_at, Some(id(1)));
        let shape = case.plan().shape();
        assert_eq!(shape.critical_path, ids(&[0, 1, 2, 3, 4]));
        assert_eq!((shape.width, shape.parallelism()), (1, 1.0));
    }

    #[test]
    fn what_the_caller_holds_is_live_to_the_end() {
        let case = Case::of(flat(7));
        assert_eq!(case.plan().peak(1).results, 7);
        assert_eq!(case.plan().peak(1).results_at, Some(id(6)));
        let shape = case.plan().shape();
        assert_eq!((shape.tasks, shape.width), (7, 7));
        assert_eq!(shape.critical_path, [id(0)]);
    }

    #[test]
    fn bytes_may_peak_elsewhere_than_results() {
        // 0   1   2     0 is large; 3 makes it small
        // |   |   |
        // 3   |   |
        //  \  |  /
        //     4
        let g = graph([&[][..], &[], &[], &[0], &[3, 1, 2]]);
        let sizes = [100, 1, 1, 1, 1].map(Some).to_vec();
        let mut case = Case::new(g, &[], sizes);
        let peak = case.plan().peak(1);
        assert_eq!((peak.bytes, peak.bytes_at), (101, Some(id(3))));
        assert_eq!((peak.results, peak.results_at), (4, Some(id(4))));

        case.bytes[1] = None;
        case.bytes[3] = None;
        let peak = case.plan().peak(1);
        assert_eq!((peak.bytes, peak.unknown), (100, 1));
    }

    #[test]
    fn what_is_known_neither_runs_nor_counts() {
        let case = Case::new(diamonds(), &[0, 1], vec![Some(10); 5]);
        let peak = case.plan().peak(1);
        assert_eq!((peak.results, peak.bytes), (3, 30));
        let shape = case.plan().shape();
        assert_eq!((shape.tasks, shape.width), (3, 2));
        assert_eq!(shape.critical_path.len(), 2);
    }

    #[test]
    fn more_workers_hold_more() {
        let case = Case::of(layered(200, 20, 2, 5));
        let peaks = [1, 4, 20].map(|workers| case.plan().peak(workers).results);
        assert!(peaks.is_sorted() && peaks[0] < peaks[2], "{peaks:?}");
    }

    #[test]
    fn nothing_comes_of_nothing() {
        for case in [
            Case::of(graph([[0_usize; 0]; 0])),
            Case::new(flat(2), &[0, 1], vec![None; 2]),
        ] {
            assert_eq!(case.plan().peak(1), Peak::default());
            assert_eq!(case.plan().shape(), Shape::default());
            assert_eq!(case.plan().shape().parallelism(), 0.0);
        }
    }

    #[test]
    fn sizes_beyond_all_bounds_do_not_wrap() {
        let case = Case::new(flat(3), &[], vec![Some(u64::MAX); 3]);
        assert_eq!(case.plan().peak(1).bytes, u64::MAX);
    }

    fn cases() -> impl Strategy<Value = Case> {
        let row = (vec(any::<prop::sample::Index>(), 0..4), 0_u8..8);
        (vec((row, prop::option::of(0_u64..100)), 1..30)).prop_map(|tasks| {
            let mut known = Vec::new();
            let mut rows: Vec<Vec<usize>> = Vec::new();
            for (i, ((needs, kind), _)) in tasks.iter().enumerate() {
                let is_source = i == 0 || needs.is_empty();
                rows.push(match is_source {
                    true => Vec::new(),
                    false => needs.iter().map(|n| n.index(i)).collect(),
                });
                if is_source && *kind == 0 {
                    known.push(i);
                }
            }
            let bytes = tasks.into_iter().map(|(_, bytes)| bytes).collect();
            Case::new(graph(rows), &known, bytes)
        })
    }

    proptest! {
        #[test]
        fn the_peak_of_one_worker_is_that_of_counting(case in cases()) {
            let peak = case.plan().peak(1);
            let moments = case.live_at_each_rank();
            prop_assert_eq!(peak.results, moments.iter().map(Vec::len).max().unwrap_or(0));
            let sizes = moments.iter().map(|live| {
                let sizes = live.iter().map(|t| case.bytes[t.index()]);
                let unknown = sizes.clone().filter(Option::is_none).count();
                (sizes.flatten().sum::<u64>(), unknown)
            });
            prop_assert_eq!((peak.bytes, peak.unknown), sizes.max().unwrap_or_default());
        }

        #[test]
        fn the_critical_path_is_a_longest_chain(case in cases()) {
            fn longest(case: &Case, task: TaskId) -> usize {
                if case.known.contains(&task) {
                    return 0;
                }
                let needs = case.graph.dependencies(task).iter();
                1 + needs.map(|d| longest(case, *d)).max().unwrap_or(0)
            }
            let shape = case.plan().shape();
            let most = case.graph.tasks().map(|t| longest(&case, t)).max().unwrap_or(0);
            prop_assert_eq!(shape.critical_path.len(), most);
            for pair in shape.critical_path.windows(2) {
                prop_assert!(case.graph.dependencies(pair[1]).contains(&pair[0]));
            }
            prop_assert_eq!(shape.tasks, case.graph.len() - case.known.len());
        }

        #[test]
        fn no_peak_is_above_all_tasks_or_below_what_is_held(case in cases(), workers in 1_usize..6) {
            let peak = case.plan().peak(workers);
            let held = case.requested.iter().filter(|t| !case.known.contains(t)).count();
            prop_assert!(peak.results >= held && peak.results <= case.plan().shape().tasks);
        }
    }
}
