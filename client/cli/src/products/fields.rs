//! The fields of a product as they are typed.
//! It leaves their rules to the service.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use stead_client::{Money, NewProduct, ProductPatch};

use crate::values;

/// The fields that create and update share.
#[derive(Args, Debug)]
pub(crate) struct Fields {
    /// What it is
    #[arg(long)]
    description: Option<String>,
    /// Where it belongs, such as games/board
    #[arg(long)]
    category: Option<String>,
    /// A label; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// What a buyer pays, such as "12.50 EUR"
    #[arg(long)]
    price: Option<Money>,
    /// What the tenant pays, such as "8.10 EUR"
    #[arg(long)]
    cost: Option<Money>,
    /// How many are in stock
    #[arg(long, allow_negative_numbers = true)]
    quantity: Option<i64>,
    /// Free facts, a JSON object
    #[arg(long, value_name = "JSON", value_parser = values::object)]
    attributes: Option<Map<String, Value>>,
    /// The language of its texts, such as de, or und for none that search knows; en unless given
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
}

/// Fields that may be empty.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Clearable {
    Description,
    Category,
    Tags,
    Price,
    Cost,
    Attributes,
}

impl Fields {
    pub(crate) fn create(self, product: NewProduct) -> NewProduct {
        let mut product = product
            .description(self.description.unwrap_or_default())
            .category(self.category.unwrap_or_default())
            .tags(self.tags)
            .quantity(self.quantity.unwrap_or_default())
            .attributes(self.attributes.unwrap_or_default());
        (product.price, product.cost) = (self.price, self.cost);
        if let Some(language) = self.language {
            product = product.language_code(language);
        }
        product
    }

    pub(crate) fn patch(self, sku: Option<String>, display_name: Option<String>, clear: &[Clearable]) -> ProductPatch {
        let mut patch = clear.iter().fold(ProductPatch::new(), |patch, field| match field {
            Clearable::Description => patch.description(""),
            Clearable::Category => patch.category(""),
            Clearable::Tags => patch.tags([""; 0]),
            Clearable::Price => patch.price(None),
            Clearable::Cost => patch.cost(None),
            Clearable::Attributes => patch.attributes(Map::new()),
        });
        if let Some(sku) = sku {
            patch = patch.sku(sku);
        }
        if let Some(display_name) = display_name {
            patch = patch.display_name(display_name);
        }
        if let Some(description) = self.description {
            patch = patch.description(description);
        }
        if let Some(category) = self.category {
            patch = patch.category(category);
        }
        if !self.tags.is_empty() {
            patch = patch.tags(self.tags);
        }
        if let Some(price) = self.price {
            patch = patch.price(price);
        }
        if let Some(cost) = self.cost {
            patch = patch.cost(cost);
        }
        if let Some(quantity) = self.quantity {
            patch = patch.quantity(quantity);
        }
        if let Some(attributes) = self.attributes {
            patch = patch.attributes(attributes);
        }
        if let Some(language) = self.language {
            patch = patch.language_code(language);
        }
        patch
    }
}
