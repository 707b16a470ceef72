//! With one task at a time the order is told by the ranks alone, whoever runs
//! the tasks and whether somebody watches.

mod common;

use common::case::{random_cases, random_graphs};
use common::{LONG, cases, within};
use mars::executor::{Caller, Run};
use mars::order::order;
use mars::scheduler::Scheduler;
use mars::testing::{FakeRunner, What};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn tasks_run_in_rank_order(mut case in random_cases(40)) {
        case.limit = 1;
        within(LONG, move || {
            let rank = order(&case.work.graph);
            let mut expected = case.work.to_run();
            expected.sort_unstable_by_key(|task| rank[task.index()]);
            for _ in 0..2 {
                let outcome = case.run(|_| Ok(()));
                assert_eq!(outcome.record.tasks(What::Started), expected);
            }
        });
    }

    /// Ranks that ignore dependencies: the lowest that is ready goes first.
    #[test]
    fn any_ranks_will_do(
        (graph, rank) in random_graphs(30).prop_flat_map(|graph| {
            let ranks: Vec<u32> = (0..graph.len() as u32).collect();
            (Just(graph), Just(ranks).prop_shuffle())
        })
    ) {
        within(LONG, move || {
            let mut model = common::model::Model::new(&graph, &[], &[]);
            let scheduler = Scheduler::new(graph.clone(), rank.clone(), &[], &[]);
            let runner = FakeRunner::new(&graph, &[], |_| Ok(()));
            let run = Run::new(scheduler, runner, common::options(1, Caller::Helps));
            assert!(run.execute(|| Ok(())).is_ok());
            for task in run.runner().record().tasks(What::Started) {
                let lowest = model.ready().into_iter().min_by_key(|t| rank[t.index()]);
                assert_eq!(lowest, Some(task));
                model.start(task);
                model.finish(task);
            }
        });
    }
}
