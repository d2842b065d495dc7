//! The bounds of ZRANGE and its kin: intervals of scores and of members.

/// One end of an interval of scores; the infinities are ordinary scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreBound {
    Including(f64),
    Excluding(f64),
}

/// An interval of scores, as in `ZRANGEBYSCORE key (1 5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    pub min: ScoreBound,
    pub max: ScoreBound,
}

impl ScoreRange {
    /// Whether `score` lies left of the interval.
    pub fn is_below(&self, score: f64) -> bool {
        match self.min {
            ScoreBound::Including(min) => score < min,
            ScoreBound::Excluding(min) => score <= min,
        }
    }

    /// Whether `score` lies left of the interval's right end.
    pub fn is_up_to_max(&self, score: f64) -> bool {
        match self.max {
            ScoreBound::Including(max) => score <= max,
            ScoreBound::Excluding(max) => score < max,
        }
    }

    pub fn contains(&self, score: f64) -> bool {
        !self.is_below(score) && self.is_up_to_max(score)
    }
}

/// One end of an interval of members, `Min` and `Max` being `-` and `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    Min,
    Max,
    Including(&'a [u8]),
    Excluding(&'a [u8]),
}

/// An interval of members, as in `ZRANGEBYLEX key [a (f`. Means something where all scores are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether `member` lies left of the interval.
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Including(min) => member < min,
            LexBound::Excluding(min) => member <= min,
        }
    }

    /// Whether `member` lies left of the interval's right end.
    pub fn is_up_to_max(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Including(max) => member <= max,
            LexBound::Excluding(max) => member < max,
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        !self.is_below(member) && self.is_up_to_max(member)
    }
}
