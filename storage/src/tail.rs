//! [`TailCache`]: the newest committed blocks, in memory, so that a consumer that keeps up never touches a file.
//!
//! Bounded in bytes of memory held, oldest first out. What is in it is contiguous up to the end of the log; so the run after an
//! offset is known for certain only from the stream's oldest cached run on.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::Block;
use crate::body::{RUN_HEADER_BYTES, Run};
use crate::index::StreamMap;

/// A cached run: which block, and which of its runs.
#[derive(Debug)]
struct Cached {
    base_offset: u64,
    block: Arc<Block>,
    run: u32,
}

/// The newest committed blocks.
#[derive(Debug, Default)]
pub(crate) struct TailCache {
    blocks: VecDeque<Arc<Block>>,
    streams: StreamMap<VecDeque<Cached>>,
    bytes: usize,
}

impl TailCache {
    /// Takes in the next block and gives back the ones that had to go, to be dropped outside the lock.
    pub(crate) fn push(&mut self, block: &Arc<Block>, bytes_max: usize) -> Vec<Arc<Block>> {
        self.bytes += memory_of(block);
        for (run, span) in (0..).zip(&block.runs) {
            self.streams.entry(span.stream).or_default().push_back(Cached {
                base_offset: span.base_offset,
                block: Arc::clone(block),
                run,
            });
        }
        self.blocks.push_back(Arc::clone(block));
        let mut gone = Vec::new();
        while self.bytes > bytes_max {
            let Some(oldest) = self.blocks.pop_front() else { break };
            self.forget(&oldest);
            gone.push(oldest);
        }
        gone
    }

    fn forget(&mut self, block: &Arc<Block>) {
        self.bytes -= memory_of(block);
        for span in &block.runs {
            let Some(cached) = self.streams.get_mut(&span.stream) else { continue };
            if cached.front().is_some_and(|run| Arc::ptr_eq(&run.block, block)) {
                cached.pop_front();
            }
            if cached.is_empty() {
                self.streams.remove(&span.stream);
            }
        }
    }

    /// The run with `offset`, or the next one after it, if the cache can tell.
    pub(crate) fn find(&self, stream: u32, offset: u64) -> Option<Run> {
        let cached = self.streams.get(&stream)?;
        let after = cached.partition_point(|run| run.base_offset <= offset);
        // Before the oldest cached run there may be others that are no longer here.
        let here = cached.get(after.checked_sub(1)?)?.run();
        if here.end_offset() > offset {
            return Some(here);
        }
        cached.get(after).map(Cached::run)
    }
}

impl Cached {
    fn run(&self) -> Run {
        let span = self.block.runs[self.run as usize];
        let start = span.at as usize + RUN_HEADER_BYTES;
        Run {
            stream: span.stream,
            base_offset: span.base_offset,
            records: span.records,
            batches: self.block.body.slice(start..start + span.len as usize),
            time_ms: self.block.time_ms,
        }
    }
}

fn memory_of(block: &Block) -> usize {
    size_of::<Block>()
        + block.body_memory
        + block.runs.len() * (size_of::<Cached>() + size_of::<crate::body::RunSpan>())
}

#[cfg(test)]
mod tests;
