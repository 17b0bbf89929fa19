use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::history::{Answer, Kind, ValueId, durability};

mod brute_force;
mod named;
mod scale;
