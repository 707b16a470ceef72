//! Neither depth nor width costs stack, and a run of many tasks keeps no more
//! results than its shape needs.

mod common;

use common::case::Case;
use common::{LONG, id, within};
use mars::executor::Caller;
use mars::testing::What;
use mars::testing::graphs::{chain, flat, layered, outputs, tree};

const MANY: usize = 100_000;

#[test]
fn a_long_chain() {
    within(LONG, || {
        let case = Case::new(chain(MANY), &[id(MANY - 1)], 2, Caller::Waits);
        let record = case.run(|_| Ok(())).record;
        record.assert_promises_kept();
        assert_eq!(record.results(), [id(MANY - 1)]);
        // The result read, the one made, and one that is just being let go
        // while another worker may have the next task already.
        assert!(record.peak() <= 3, "{}", record.peak());
    });
}

#[test]
fn a_wide_reduction() {
    within(LONG, || {
        let case = Case::new(tree(MANY - 1), &[id(0)], 1, Caller::Helps);
        let record = case.run(|_| Ok(())).record;
        record.assert_promises_kept();
        // Depth first: one result for each level, and the two at hand.
        assert!(record.peak() <= 20, "{}", record.peak());
    });
}

#[test]
fn everything_at_once() {
    within(LONG, || {
        for graph in [flat(MANY), layered(MANY, 100, 3, 1)] {
            let requested = outputs(&graph);
            let case = Case::new(graph, &requested, 2, Caller::Helps);
            let record = case.run(|_| Ok(())).record;
            record.assert_promises_kept();
            assert_eq!(record.tasks(What::Finished).len(), MANY);
            assert_eq!(record.results(), requested);
        }
    });
}
