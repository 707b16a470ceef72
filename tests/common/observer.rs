//! An observer that remembers what it was told, and checks it.

use super::model::Model;
use super::sorted;
use mars::executor::Observer;
use mars::graph::TaskId;
use mars::testing::FakeError;

/// Follows a run with a [`Model`]; may fail at a chosen call.
pub struct Follower {
    model: Model,
    /// Tasks that were said to start, in order.
    pub started: Vec<TaskId>,
    /// Tasks that were said to have finished, in order, and on which thread.
    pub finished: Vec<(TaskId, u64)>,
    /// How many calls go well.
    pub patience: usize,
}

impl Follower {
    pub fn new(model: Model) -> Self {
        Follower {
            model,
            started: Vec::new(),
            finished: Vec::new(),
            patience: usize::MAX,
        }
    }

    /// What was said to start and not said to have finished.
    pub fn open(&self) -> Vec<TaskId> {
        self.model.running.iter().copied().collect()
    }

    fn bear(&mut self) -> Result<(), FakeError> {
        self.patience = (self.patience.checked_sub(1)).ok_or(FakeError::Interrupted)?;
        Ok(())
    }
}

impl Observer for Follower {
    type Error = FakeError;

    fn starting(&mut self, task: TaskId) -> Result<(), FakeError> {
        self.model.start(task);
        self.started.push(task);
        self.bear()
    }

    fn finished(
        &mut self,
        task: TaskId,
        thread: u64,
        ready: &[TaskId],
        released: &[TaskId],
    ) -> Result<(), FakeError> {
        let (model_ready, model_released) = self.model.finish(task);
        assert_eq!(ready, model_ready, "ready after {task:?}");
        assert_eq!(sorted(released.to_vec()), sorted(model_released));
        self.finished.push((task, thread));
        self.bear()
    }
}

/// Listens, and is no slower for it.
pub struct Silent;

impl Observer for Silent {
    type Error = FakeError;

    fn starting(&mut self, _: TaskId) -> Result<(), FakeError> {
        Ok(())
    }

    fn finished(&mut self, _: TaskId, _: u64, _: &[TaskId], _: &[TaskId]) -> Result<(), FakeError> {
        Ok(())
    }
}
