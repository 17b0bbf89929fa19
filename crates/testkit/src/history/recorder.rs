//! A client thread's own recording, in memory.

use super::{Answer, History, Kind, Operation, Outcome};

/// Collects the operations of one client thread.
///
/// It has no clock: the caller takes the times, the first one *before* anything is sent and the last one *after*
/// the answer has arrived, all from one clock. An operation that is never resolved counts as unknown.
///
/// # Cost
/// An append and a copy of the key per operation; no lock, no formatting, no input or output. What a killed
/// process held in a `Recorder` is lost: use a [`Journal`](super::Journal) in processes that may die.
#[derive(Debug)]
pub struct Recorder {
    client: u32,
    operations: Vec<Operation>,
}

/// Names an operation that has begun. It is spent by telling the outcome, so that is told once.
#[derive(Debug)]
#[must_use = "an operation whose outcome is never told is recorded as unknown"]
pub struct Ticket {
    client: u32,
    index: usize,
}

impl Recorder {
    /// A recorder for the client of this number.
    pub fn new(client: u32) -> Self {
        Self { client, operations: Vec::new() }
    }

    /// Makes room for `operation_count` operations, so that the measured loop does not grow the list.
    pub fn reserve(&mut self, operation_count: usize) {
        self.operations.reserve(operation_count);
    }

    /// Notes that an operation begins now.
    pub fn invoke(&mut self, key: &[u8], kind: Kind, now_ns: u64) -> Ticket {
        let index = self.operations.len();
        let (client, key) = (self.client, key.to_vec());
        self.operations.push(Operation { client, key, kind, invoked_ns: now_ns, outcome: Outcome::Unknown });
        Ticket { client, index }
    }

    /// Notes the answer.
    ///
    /// # Panics
    /// If the ticket is of another recorder, the answer is none to the question, or `now_ns` is before the
    /// invocation: the test is wrong.
    pub fn complete(&mut self, ticket: Ticket, answer: Answer, now_ns: u64) {
        let operation = self.operation(&ticket);
        assert!(operation.kind.admits(answer), "`{}` cannot be answered by {answer:?}", operation.kind);
        assert!(now_ns >= operation.invoked_ns, "the clock went back during `{}`", operation.kind);
        operation.outcome = Outcome::Ok { returned_ns: now_ns, answer };
    }

    /// Notes that the operation certainly had no effect. If there is any doubt, use [`unknown`](Self::unknown).
    ///
    /// # Panics
    /// If the ticket is of another recorder.
    pub fn fail(&mut self, ticket: Ticket) {
        self.operation(&ticket).outcome = Outcome::Failed;
    }

    /// Notes that nobody knows whether the operation took effect, or will.
    ///
    /// # Panics
    /// If the ticket is of another recorder.
    pub fn unknown(&mut self, ticket: Ticket) {
        self.operation(&ticket).outcome = Outcome::Unknown;
    }

    /// How many operations have begun.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether none has begun.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What was recorded so far. Operations without an outcome are unknown.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Ends the recording. Operations without an outcome are unknown.
    pub fn finish(self) -> History {
        History::new(self.operations)
    }

    fn operation(&mut self, ticket: &Ticket) -> &mut Operation {
        assert_eq!(ticket.client, self.client, "the ticket is of another client's recorder");
        self.operations.get_mut(ticket.index).expect("a ticket of this recorder names one of its operations")
    }
}

#[cfg(test)]
mod tests {
    use super::super::ValueId;
    use super::*;

    #[test]
    fn outcomes_land_on_their_operations_in_any_order() {
        let mut recorder = Recorder::new(4);
        let put = recorder.invoke(b"a", Kind::Put { value: ValueId(1) }, 10);
        let get = recorder.invoke(b"b", Kind::Get, 11);
        let lost = recorder.invoke(b"c", Kind::Delete, 12);
        let refused = recorder.invoke(b"d", Kind::Delete, 13);
        recorder.complete(get, Answer::Value(None), 20);
        recorder.fail(refused);
        recorder.complete(put, Answer::Applied, 30);
        recorder.unknown(lost);
        let _never_told = recorder.invoke(b"e", Kind::Get, 40);
        assert_eq!(recorder.len(), 5);

        let history = recorder.finish();
        let outcomes: Vec<Outcome> = history.operations().iter().map(|o| o.outcome).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Ok { returned_ns: 30, answer: Answer::Applied },
                Outcome::Ok { returned_ns: 20, answer: Answer::Value(None) },
                Outcome::Unknown,
                Outcome::Failed,
                Outcome::Unknown,
            ]
        );
        assert!(history.operations().iter().all(|o| o.client == 4));
    }

    #[test]
    #[should_panic(expected = "another client")]
    fn a_foreign_ticket_is_refused() {
        let ticket = Recorder::new(1).invoke(b"a", Kind::Get, 0);
        Recorder::new(2).fail(ticket);
    }

    #[test]
    #[should_panic(expected = "cannot be answered")]
    fn a_wrong_answer_is_refused() {
        let mut recorder = Recorder::new(1);
        let ticket = recorder.invoke(b"a", Kind::Get, 0);
        recorder.complete(ticket, Answer::Applied, 1);
    }
}
