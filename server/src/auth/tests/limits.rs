//! Which limits a credential brings, and for how long they are remembered.
//! It leaves sessions and whether a credential holds to its siblings, and the lists of plans to `plans`.

use std::time::{Duration, Instant};

use chrono::Utc;

use super::World;
use crate::{
    auth::{keys::Holder, verify::Now},
    limits::Limits,
    plans::{Own, Plans, UNLIMITED},
};

#[tokio::test]
async fn another_plan_or_limit_holds_within_a_second() {
    let mut world = World::new().await;
    let key = world.key(Holder::Tenant("acme")).await.reveal();
    let operator = world.key(Holder::Platform).await.reveal();
    let start = Now { instant: Instant::now(), time: Utc::now() };
    let after = |millis| Now { instant: start.instant + Duration::from_millis(millis), ..start };
    let plans = Plans::default();
    let (standard, free) = (plans.plan("standard"), plans.limits("free", &Own { rows: Some(7), ..Own::default() }));
    let changed = "update stead.tenants set plan = 'free', limit_rows = 7 where slug = 'acme'";
    for (millis, holds) in [(0, standard), (899, standard), (900, free), (901, free)] {
        let principal = world.verifier.principal_at(after(millis), &key, None, None).await.unwrap();
        assert_eq!(principal.limits, holds, "{millis}");
        // An operator's calls are the platform's; what is kept is the tenant's, whoever writes it.
        let inside = world.verifier.principal_at(after(millis), &operator, Some(world.acme), None).await.unwrap();
        let Limits { rows, bytes, .. } = holds;
        assert_eq!(inside.limits, Limits { rows, bytes, ..Plans::platform() }, "{millis}");
        if millis == 0 {
            world.alter(changed.into()).await;
        }
    }
    let outside = world.verify(&operator, None).await.unwrap();
    assert_eq!((outside.limits, outside.limits.rows), (Plans::platform(), UNLIMITED));
}
