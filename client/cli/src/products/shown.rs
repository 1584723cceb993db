//! A product as people read it.
//! It leaves laying out tables to `output`.

use stead_client::{Money, Product};

use crate::output::{Column, Shown, maybe_time, time};

fn money(money: Option<&Money>) -> String {
    money.map(ToString::to_string).unwrap_or_default()
}

impl Shown for Product {
    const MANY: &'static str = "products";
    const COLUMNS: &'static [Column] = &[
        Column::whole("SKU"),
        Column::shared("NAME"),
        Column::whole("PRICE").right(),
        Column::whole("QTY").right(),
        Column::shared("CATEGORY"),
    ];

    fn cells(&self) -> Vec<String> {
        let deleted = if self.delete_time.is_some() { " (deleted)" } else { "" };
        vec![
            format!("{}{deleted}", self.sku),
            self.display_name.clone(),
            money(self.price.as_ref()),
            self.quantity.to_string(),
            self.category.clone(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let attributes = || serde_json::to_string_pretty(&self.attributes).unwrap_or_default();
        vec![
            ("name", self.id.to_string()),
            ("sku", self.sku.clone()),
            ("display_name", self.display_name.clone()),
            ("price", money(self.price.as_ref())),
            ("cost", money(self.cost.as_ref())),
            ("quantity", self.quantity.to_string()),
            ("category", self.category.clone()),
            ("tags", self.tags.join(" ")),
            ("attributes", if self.attributes.is_empty() { String::new() } else { attributes() }),
            ("description", self.description.clone()),
            ("language_code", self.language_code.clone()),
            ("revision", self.revision.to_string()),
            ("etag", self.etag.clone()),
            ("creator", self.creator.clone()),
            ("updater", self.updater.clone()),
            ("create_time", time(self.create_time)),
            ("update_time", time(self.update_time)),
            ("delete_time", maybe_time(self.delete_time)),
            ("purge_time", maybe_time(self.purge_time)),
        ]
    }
}
