//! What it costs a task to be recorded, and a run to be known.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mars::events::{Recording, Stamp};
use mars::testing::events::{record_tasks, run_records};
use std::hint::black_box;

const TASKS: usize = 10_000;

fn tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one task");
    group.throughput(Throughput::Elements(TASKS as u64));
    group.bench_function("a look at the clock", |bencher| {
        bencher.iter(|| {
            for _ in 0..TASKS {
                black_box(Stamp::now());
            }
        });
    });
    group.bench_function("nobody records", |bencher| {
        bencher.iter(|| record_tasks(black_box(TASKS)));
    });
    let recording = Recording::begin(1_000_000);
    group.bench_function("somebody records", |bencher| {
        bencher.iter(|| record_tasks(black_box(TASKS)));
    });
    recording.stop();
    group.finish();
}

fn runs(criterion: &mut Criterion) {
    criterion.bench_function("one run", |bencher| {
        bencher.iter(|| run_records(black_box(1)))
    });
}

criterion_group!(benches, tasks, runs);
criterion_main!(benches);
