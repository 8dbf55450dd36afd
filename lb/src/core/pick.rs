//! Who is next: the backend for an attempt, the event loop for a connection.

use super::turns::turns;

/// How backends are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Each in its turn, by weight.
    #[default]
    RoundRobin,
    /// Who has the fewest requests for its weight.
    LeastInFlight,
    /// Of two drawn at random, who will probably answer first ("power of two choices"): by expected answer time, requests and weight.
    PeakEwma,
}

/// What is known of a backend when it is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests that it works on.
    pub(crate) in_flight: u64,
    /// What an answer of it takes.
    pub(crate) expected_us: f64,
    /// Above 0.
    pub(crate) weight: u32,
}

/// What each request draws, so that the choice itself is pure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    /// The number of the request.
    pub(crate) turn: usize,
    pub(crate) random: u64,
}

/// The backends at one moment, by place.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// The order of the healthy ones, each as often as its weight says.
    turns: Vec<usize>,
    healthy: Vec<usize>,
    /// Used only if none of the healthy ones can be: a backend that only looks unhealthy is better than no answer.
    others: Vec<usize>,
}

impl Policy {
    pub(crate) const ALL: [Self; 3] = [Self::RoundRobin, Self::LeastInFlight, Self::PeakEwma];

    /// The name in settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastInFlight => "least-in-flight",
            Self::PeakEwma => "peak-ewma",
        }
    }
}

impl Load {
    /// The requests that it would work on, for its weight.
    fn requests(self) -> f64 {
        (self.in_flight + 1) as f64 / f64::from(self.weight)
    }

    fn cost(self) -> f64 {
        self.requests() * self.expected_us
    }
}

impl Rotation {
    /// `weights` of the healthy ones, by place; those of weight 0 are asked only if there is nobody else.
    pub(crate) fn new(weights: &[(usize, u32)], others: Vec<usize>) -> Self {
        let of_weight = |is_zero: bool| {
            let places = weights.iter().filter(move |(_, weight)| (*weight == 0) == is_zero);
            places.map(|(place, _)| *place)
        };
        let healthy = of_weight(false).collect();
        let others = of_weight(true).chain(others).collect();
        Self { turns: turns(weights), healthy, others }
    }

    /// The place of one that `may` be asked: a healthy one if possible.
    pub(crate) fn pick(
        &self,
        policy: Policy,
        draw: Draw,
        may: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> Load,
    ) -> Option<usize> {
        let healthy = match policy {
            Policy::RoundRobin => from(&self.turns, draw.turn).find(|place| may(*place)),
            Policy::LeastInFlight => {
                // Of equals the next in turn.
                let free = from(&self.healthy, draw.turn).filter(|place| may(*place));
                least(free, |place| load(place).requests())
            }
            Policy::PeakEwma => self.of_two(draw.random, &may, &load),
        };
        healthy.or_else(|| from(&self.others, draw.turn).find(|place| may(*place)))
    }

    fn of_two(&self, random: u64, may: impl Fn(usize) -> bool, load: impl Fn(usize) -> Load) -> Option<usize> {
        let cost = |place: usize| load(place).cost();
        let drawn = two(&self.healthy, random).into_iter().flatten().filter(|place| may(*place));
        // That neither may be asked is rare.
        least(drawn, cost).or_else(|| least(self.healthy.iter().copied().filter(|place| may(*place)), cost))
    }
}

/// All of them, from the one whose turn it is.
fn from(places: &[usize], turn: usize) -> impl Iterator<Item = usize> {
    let start = turn.checked_rem(places.len()).unwrap_or(0);
    places[start..].iter().chain(&places[..start]).copied()
}

/// The first of those with the least cost, each of which is asked once.
fn least(places: impl Iterator<Item = usize>, cost: impl Fn(usize) -> f64) -> Option<usize> {
    let costs = places.map(|place| (place, cost(place)));
    costs.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(place, _)| place)
}

/// Two different ones, if there are two.
fn two(places: &[usize], random: u64) -> [Option<usize>; 2] {
    let count = places.len() as u64;
    if count < 2 {
        return [places.first().copied(), None];
    }
    // The halves of the draw: independent of each other.
    let (high, low) = (random >> 32, random & u64::from(u32::MAX));
    let first = high % count;
    let second = (first + 1 + low % (count - 1)) % count;
    [first, second].map(|index| usize::try_from(index).ok().and_then(|index| places.get(index)).copied())
}

/// The least loaded of the event loops; of equals the first from `turn` on. None if there is no loop.
pub(crate) fn event_loop(turn: usize, loads: &[usize]) -> Option<usize> {
    let count = loads.len();
    (0..count).map(|step| (turn % count + step) % count).min_by_key(|&place| loads[place])
}

#[cfg(test)]
#[path = "pick_tests.rs"]
mod tests;
