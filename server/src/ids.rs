//! Ids of what the service makes: the time, and chance alone.
//! It leaves the ids that clients bring to `rules`, and those of journal entries to the database.
//!
//! Why not `Uuid::now_v7`: within a millisecond it counts on from the id before, whoever that was made for, and so would tell
//! one tenant how much the others write.

use chrono::Utc;
use uuid::{Builder, Uuid};

/// A new UUIDv7.
pub fn fresh() -> Uuid {
    let mut chance = [0; 10];
    rand::fill(&mut chance);
    Builder::from_unix_timestamp_millis(Utc::now().timestamp_millis().unsigned_abs(), &chance).into_uuid()
}

/// So many new UUIDv7, in ascending order: what is made by one call keeps its order among itself.
pub fn in_order(count: usize) -> Vec<Uuid> {
    let mut ids: Vec<_> = std::iter::repeat_with(fresh).take(count).collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_the_time_and_are_otherwise_chance() {
        let before = Utc::now().timestamp_millis() as u128;
        let ids: Vec<_> = std::iter::repeat_with(fresh).take(10_000).collect();
        let after = Utc::now().timestamp_millis() as u128;
        let mut set = [0; 122 - 48];
        let mut ascending = 0;
        for pair in ids.windows(2) {
            ascending += usize::from(pair[0].as_u128() << 48 < pair[1].as_u128() << 48);
        }
        for id in &ids {
            assert_eq!((id.get_version_num(), id.as_u128() >> 62 & 3), (7, 2));
            assert!((before..=after).contains(&(id.as_u128() >> 80)));
            // The version and the variant stand between the bits of chance.
            let chance = (id.as_u128() >> 64 & 0xfff) << 62 | id.as_u128() & ((1 << 62) - 1);
            set.iter_mut().enumerate().for_each(|(bit, set)| *set += (chance >> bit & 1) as usize);
        }
        // Twelve standard deviations; what counted on would ascend nearly always.
        assert!((4400..5600).contains(&ascending), "{ascending} of 9999 ascend");
        assert!(set.iter().all(|set| (4400..5600).contains(set)), "{set:?}");
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn ids_of_one_call_ascend() {
        let ids = in_order(1000);
        assert!(ids.len() == 1000 && ids.is_sorted());
    }
}
