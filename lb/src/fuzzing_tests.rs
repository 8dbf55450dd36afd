//! The seeds, and mutations of them that are the same in every run.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const MUTATIONS: usize = 20_000;

/// At least one seed must be let through: otherwise nothing is checked.
fn check(target: &str, holds: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let admitted = seeds.iter().filter(|seed| holds(seed)).count();
    assert!(admitted > 0, "no seed of {target} is let through");
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..MUTATIONS {
        let mut input = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..4) {
            mutate(&mut input, &seeds, &mut random);
        }
        let shown = String::from_utf8_lossy(&input).into_owned();
        let held = std::panic::catch_unwind(|| holds(&input));
        assert!(held.is_ok(), "{target}: {shown:?}");
    }
}

/// Changes a byte, or takes a line out, or adds one of a seed.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut StdRng) {
    let mut lines: Vec<Vec<u8>> = input.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let place = random.random_range(0..lines.len());
    match random.random_range(0..3) {
        0 if !lines[place].is_empty() => {
            let byte = random.random_range(0..lines[place].len());
            lines[place][byte] = random.random();
        }
        1 if place > 0 => drop(lines.remove(place)),
        _ => {
            let other = &seeds[random.random_range(0..seeds.len())];
            let others: Vec<_> = other.split(|&byte| byte == b'\n').skip(1).collect();
            if !others.is_empty() {
                lines.insert(place + 1, others[random.random_range(0..others.len())].to_vec());
            }
        }
    }
    *input = lines.join(&b'\n');
}

#[test]
fn what_goes_to_a_backend_is_unambiguous_whatever_a_client_says() {
    check("request_head", request_head);
}

#[test]
fn what_is_refused_of_a_connection_does_not_depend_on_how_it_comes() {
    check("requests", requests);
}

#[test]
fn what_goes_to_a_client_is_unambiguous_whatever_a_backend_says() {
    check("answer_head", answer_head);
}

#[test]
fn a_file_of_backends_is_refused_or_within_bounds() {
    check("backends_file", backends_file);
}
