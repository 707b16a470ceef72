//! What ordering costs: the core alone, shapes of 100,000 tasks and some of 1,000,000.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mars::graph::{GraphBuilder, TaskGraph, TaskId};
use mars::order::order;
use std::hint::black_box;
use std::time::Duration;

fn add_sources(builder: &mut GraphBuilder, count: usize) -> Vec<TaskId> {
    (0..count).map(|_| builder.push(&[]).unwrap()).collect()
}

fn add_tree(builder: &mut GraphBuilder, mut level: Vec<TaskId>, width: usize) {
    while level.len() > 1 {
        let rows = level.chunks(width);
        level = rows.map(|row| builder.push(row).unwrap()).collect();
    }
}

fn flat(tasks: usize) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    add_sources(&mut builder, tasks);
    builder.finish().unwrap()
}

fn chain(tasks: usize) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    let mut row = Vec::new();
    for _ in 0..tasks {
        row = vec![builder.push(&row).unwrap()];
    }
    builder.finish().unwrap()
}

fn tree(tasks: usize) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    let leaves = add_sources(&mut builder, tasks / 2);
    add_tree(&mut builder, leaves, 2);
    builder.finish().unwrap()
}

/// Three reductions of the same sources.
fn statistics(tasks: usize) -> TaskGraph {
    let mut builder = GraphBuilder::new();
    let sources = add_sources(&mut builder, tasks / 5);
    for _ in 0..3 {
        let uses = sources.iter().map(|&t| builder.push(&[t]).unwrap());
        let row = uses.collect();
        add_tree(&mut builder, row, 4);
    }
    builder.finish().unwrap()
}

/// All pieces of all inputs change places.
fn shuffle(tasks: usize) -> TaskGraph {
    let side = tasks.isqrt();
    let mut builder = GraphBuilder::new();
    let inputs = add_sources(&mut builder, side);
    for _ in 0..side {
        let pieces = inputs.iter().map(|&t| builder.push(&[t]).unwrap());
        let pieces: Vec<TaskId> = pieces.collect();
        builder.push(&pieces).unwrap();
    }
    builder.finish().unwrap()
}

/// Layers of 1,000; each task needs one to five random ones of the layer before.
fn layered(tasks: usize) -> TaskGraph {
    const WIDTH: usize = 1_000;
    let mut seed = 1u64;
    let mut random = move |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut builder = GraphBuilder::new();
    for task in 0..tasks {
        let layer = task / WIDTH * WIDTH;
        let count = if layer > 0 { 1 + random(5) } else { 0 };
        let row: Vec<TaskId> = (0..count)
            .map(|_| TaskId::new(layer - WIDTH + random(WIDTH)))
            .collect();
        builder.push(&row).unwrap();
    }
    builder.finish().unwrap()
}

fn orders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    let shapes = [
        ("flat", flat as fn(usize) -> TaskGraph),
        ("chain", chain),
        ("tree", tree),
        ("statistics", statistics),
        ("shuffle", shuffle),
        ("layered", layered),
    ];
    for (name, shape) in shapes {
        for tasks in [100_000, 1_000_000] {
            let graph = shape(tasks);
            group.throughput(Throughput::Elements(graph.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, tasks), &graph, |bencher, graph| {
                bencher.iter(|| order(black_box(graph)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, orders);
criterion_main!(benches);
