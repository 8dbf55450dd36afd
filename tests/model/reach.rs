//! What a checker of single paths cannot say: from every reachable state, the goal can still be reached.

use std::collections::HashMap;

use stateright::Model;

/// All reachable states, each with its successors by index.
pub(crate) struct Graph<S> {
    states: Vec<S>,
    successors: Vec<Vec<usize>>,
}

impl<S: Clone + Eq + std::hash::Hash> Graph<S> {
    pub(crate) fn explore<M: Model<State = S>>(model: &M) -> Self {
        let mut graph = Self { states: Vec::new(), successors: Vec::new() };
        let mut index = HashMap::new();
        for state in model.init_states() {
            graph.number(&mut index, state);
        }
        let mut next = 0;
        while next < graph.states.len() {
            let state = graph.states[next].clone();
            next += 1;
            if !model.within_boundary(&state) {
                continue;
            }
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let reached = actions.into_iter().filter_map(|action| model.next_state(&state, action));
            let successors = reached.map(|successor| graph.number(&mut index, successor)).collect();
            graph.successors[next - 1] = successors;
        }
        graph
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// A state from which no goal can be reached any more, if there is one.
    pub(crate) fn stuck(&self, goal: impl Fn(&S) -> bool) -> Option<&S> {
        let mut predecessors = vec![Vec::new(); self.states.len()];
        for (from, successors) in self.successors.iter().enumerate() {
            for &to in successors {
                predecessors[to].push(from);
            }
        }
        let mut reaches: Vec<bool> = self.states.iter().map(goal).collect();
        let mut open: Vec<usize> = (0..reaches.len()).filter(|&state| reaches[state]).collect();
        while let Some(state) = open.pop() {
            for &before in &predecessors[state] {
                if !reaches[before] {
                    reaches[before] = true;
                    open.push(before);
                }
            }
        }
        reaches.iter().position(|reached| !reached).map(|state| &self.states[state])
    }

    fn number(&mut self, index: &mut HashMap<S, usize>, state: S) -> usize {
        *index.entry(state).or_insert_with_key(|state| {
            self.states.push(state.clone());
            self.successors.push(Vec::new());
            self.states.len() - 1
        })
    }
}
