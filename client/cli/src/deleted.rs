//! Finding what was deleted by the words that people know it by.
//! It leaves bringing it back to the commands.

use chrono::{DateTime, Utc};
use stead_client::{List, Sorted, quoted};

use crate::{
    failure::{Exit, Failure},
    output::time,
};

/// So many are told apart; nobody reads more.
const TOLD: usize = 10;

/// The only deleted one of a list that has this text in this field; `life` tells its name and when it was deleted.
pub(crate) async fn only<T: Sorted>(
    list: List<T>,
    (field, text): (&str, &str),
    life: impl Fn(&T) -> (String, Option<DateTime<Utc>>),
) -> Result<T, Failure> {
    let filter = format!("{field} = {} AND state = DELETED", quoted(text));
    let mut items = list.filter(filter).show_deleted(true).read_mask(["delete_time"]).items();
    let mut found = Vec::new();
    while let Some(item) = items.next().await? {
        if life(&item).1.is_some() {
            found.push(item);
        }
        if found.len() > TOLD {
            break;
        }
    }
    match found.len() {
        0 => Err(Failure::new(Exit::NotFound, format!("nothing deleted has the {field} `{text}`"))),
        1 => Ok(found.remove(0)),
        _ => {
            let several =
                Failure::new(Exit::Conflict, format!("several had the {field} `{text}`: name the one you mean"));
            Err(found.iter().take(TOLD).map(&life).fold(several, |failure, (name, deleted)| {
                failure.with_line(format!("  {name}, deleted {}", deleted.map(time).unwrap_or_default()))
            }))
        }
    }
}
