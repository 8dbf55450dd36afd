//! From values to places on a plot, and the ticks that people read them by. Pure.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear { most: f64 },
    /// Between two powers of ten.
    Log { least: i32, most: i32 },
    /// Quantiles: each nine takes as much room as the one before; up to so many nines.
    Nines { nines: i32 },
}

impl Scale {
    /// From 0 to a round number not below `most`.
    pub(super) fn linear(most: f64) -> Self {
        let step = step(most.max(1e-9), 4.0);
        Self::Linear { most: (most.max(1e-9) / step).ceil() * step }
    }

    /// From 0 to exactly this: for time.
    pub(super) fn until(most: f64) -> Self {
        Self::Linear { most: most.max(1e-9) }
    }

    /// The powers of ten around the values, which are above zero.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            return Self::Log { least: 0, most: 1 };
        }
        let least = power_below(least);
        let most = -power_below(1.0 / most);
        Self::Log { least, most: most.max(least + 1) }
    }

    /// 0 at the begin of the axis, 1 at its end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { most } => value / most,
            Self::Log { least, most } => {
                let least = f64::from(least);
                (value.max(f64::MIN_POSITIVE).log10() - least) / (f64::from(most) - least)
            }
            Self::Nines { nines } => -(1.0 - value).max(f64::MIN_POSITIVE).log10() / f64::from(nines),
        };
        place.clamp(0.0, 1.0)
    }

    /// Values with a tick.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { most } => {
                let step = step(most, 6.0);
                let count = (0..=20_u32).take_while(|place| f64::from(*place) * step <= most * 1.000_001);
                count.map(|place| f64::from(place) * step).collect()
            }
            Self::Log { least, most } => {
                let finer: &[f64] = if most - least < 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let of_power = |power: i32| finer.iter().map(move |digit| digit * 10_f64.powi(power));
                (least..most).flat_map(of_power).chain([10_f64.powi(most)]).collect()
            }
            Self::Nines { nines } => {
                [0.0, 0.5].into_iter().chain((1..=nines).map(|nine| 1.0 - 10_f64.powi(-nine))).collect()
            }
        }
    }
}

/// The power of ten at or below a value above zero.
fn power_below(value: f64) -> i32 {
    let mut power = 0;
    while power > -12 && 10_f64.powi(power) > value * 1.000_001 {
        power -= 1;
    }
    while power < 12 && 10_f64.powi(power + 1) <= value * 1.000_001 {
        power += 1;
    }
    power
}

/// 1, 2 or 5 times a power of ten, so that about so many fit.
fn step(most: f64, about: f64) -> f64 {
    let raw = most / about;
    let power = 10_f64.powi(power_below(raw));
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= raw * 0.999_999);
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scale: Scale, expected: &[f64]) {
        let ticks = scale.ticks();
        let alike = ticks.len() == expected.len()
            && ticks.iter().zip(expected).all(|(tick, expected)| (tick - expected).abs() < 1e-6 * expected.max(1e-3));
        assert!(alike, "{scale:?}: {ticks:?} is not {expected:?}");
    }

    #[test]
    fn ticks_are_round_numbers() {
        check(Scale::linear(187.0), &[0.0, 50.0, 100.0, 150.0, 200.0]);
        check(Scale::linear(1.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(Scale::until(60.0), &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        check(Scale::log([0.3, 70.0].into_iter()), &[0.1, 1.0, 10.0, 100.0]);
        check(Scale::log([2.0, 9.0].into_iter()), &[1.0, 2.0, 5.0, 10.0]);
        check(Scale::log(std::iter::empty()), &[1.0, 2.0, 5.0, 10.0]);
        check(Scale::Nines { nines: 3 }, &[0.0, 0.5, 0.9, 0.99, 0.999]);
    }

    #[test]
    fn places_lie_between_the_ends() {
        let check = |scale: Scale, value: f64, expected: f64| {
            assert!((scale.place(value) - expected).abs() < 1e-9, "{scale:?} {value}: {}", scale.place(value));
        };
        check(Scale::until(30.0), 15.0, 0.5);
        check(Scale::Log { least: 0, most: 2 }, 10.0, 0.5);
        check(Scale::Log { least: 0, most: 2 }, 0.0, 0.0);
        check(Scale::Nines { nines: 4 }, 0.99, 0.5);
        check(Scale::Nines { nines: 4 }, 1.0, 1.0);
    }
}
