//! Totals: of the whole list on every page, exact, to a bound, or estimated from nothing but the tenant's own rows.
//! It leaves what the pages hold to the tests above.

use super::*;

impl World {
    async fn counted(&self, filter: &str, mode: CountMode) -> (i64, TotalSizeKind) {
        let request = v1::ListProductsRequest {
            page_size: 1,
            filter: filter.into(),
            count_mode: mode.into(),
            ..Default::default()
        };
        let page = self.list(request).await.unwrap();
        (page.total_size, page.total_size_kind())
    }

    /// So many rows that differ in their numbers, and hold this category.
    async fn hoard(&self, rows: usize, category: &str) {
        self.write(&format!(
            "set session_replication_role = replica;
             insert into stead.products (tenant_id, id, sku, display_name, category, quantity, creator, updater)
             select 'TENANT', gen_random_uuid(), '{category}' || n, 'n' || n % 100, '{category}', n % 10, 'services/x', 'services/x'
             from generate_series(1, {rows}) n; analyze stead.products"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_total_is_of_the_whole_list_on_every_page() {
    let world = World::new().await;
    let all = world.assorted(&mut Dice(3), 150).await;
    let live = all.iter().filter(|product| product.delete_time.is_none() && product.quantity < 30).count() as i64;
    for (mode, total) in [
        (CountMode::Exact, (live, TotalSizeKind::Exact)),
        (CountMode::Capped, (live, TotalSizeKind::Exact)),
        // Of few rows an estimate is as good as a count.
        (CountMode::Estimated, (live, TotalSizeKind::Exact)),
        (CountMode::None, (0, TotalSizeKind::Unspecified)),
        (CountMode::Unspecified, (0, TotalSizeKind::Unspecified)),
    ] {
        let request = v1::ListProductsRequest {
            page_size: 20,
            filter: "quantity < 30".into(),
            count_mode: mode.into(),
            ..Default::default()
        };
        let pages = world.pages(request).await.unwrap();
        assert!(pages.len() > 2, "the list has several pages");
        let totals: Vec<_> = pages.iter().map(|page| (page.total_size, page.total_size_kind())).collect();
        assert!(totals.iter().all(|found| *found == total), "{mode:?} {totals:?}");
    }
    let wrong = v1::ListProductsRequest { count_mode: 9, ..Default::default() };
    assert_eq!(world.list(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_capped_total_ends_at_ten_thousand_and_an_exact_one_does_not() {
    let world = World::new().await;
    world.hoard(10_000, "a").await;
    assert_eq!(world.counted("", CountMode::Capped).await, (10_000, TotalSizeKind::Exact));
    assert_eq!(world.counted("", CountMode::Estimated).await, (10_000, TotalSizeKind::Exact));
    world.hoard(1, "b").await;
    assert_eq!(world.counted("", CountMode::Capped).await, (10_000, TotalSizeKind::AtLeast));
    assert_eq!(world.counted("", CountMode::Exact).await, (10_001, TotalSizeKind::Exact));
    assert_eq!(world.counted("category = b", CountMode::Capped).await, (1, TotalSizeKind::Exact));
}

#[tokio::test]
async fn an_estimate_is_near_the_truth_and_tells_nothing_of_other_tenants() {
    let (world, asked) = (World::new().await, ["", "category = secret", "sku < m", "sku:\"secret1*\"", "quantity < 3"]);
    let estimates = async |world: &World| {
        let mut estimates = vec![];
        for filter in asked {
            estimates.push(world.counted(filter, CountMode::Estimated).await);
        }
        estimates
    };
    world.hoard(300, "own").await;
    let others = world.stranger().await;
    others.hoard(12_000, "zebra").await;
    let before = (estimates(&world).await, estimates(&others).await);
    assert!(before.0.iter().all(|(_, kind)| *kind == TotalSizeKind::Exact), "{before:?}");
    // What the statistics are full of now must not be felt by those who hold none of it.
    world.stranger().await.hoard(20_000, "secret").await;
    let after = (estimates(&world).await, estimates(&others).await);
    assert_eq!(after.0, before.0);
    let sizes: Vec<_> = after.1.iter().map(|(size, _)| *size).collect();
    println!("estimates of 12000 rows for {asked:?}: {sizes:?}");
    assert_eq!((sizes[1], sizes[2], sizes[3]), (0, 0, 0), "nothing fits, whatever others hold");
    assert!((6_000..=24_000).contains(&sizes[0]) && (1_800..=7_200).contains(&sizes[4]), "{sizes:?}");
}
