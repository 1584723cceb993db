//! `stead products`: list, get, create, update, delete, import, export.
//! It leaves import and export to their own files.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};
use stead_client::{Client, Money, NewProduct, Product, ProductId, ProductPatch};

use crate::{
    cli::{Order, Window, Writing},
    export::{self, ExportArgs},
    failure::Failure,
    import::{self, ImportArgs},
    output::{Column, Shown, maybe_time, time},
    session::Session,
    values,
};

#[derive(Debug, Subcommand)]
pub(crate) enum ProductsCommand {
    /// Print products, in creation order unless --order-by says otherwise (create_time, sku, display_name)
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        order: Order,
    },
    /// Print one product
    Get {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Print it even if it is deleted (by name only)
        #[arg(long)]
        show_deleted: bool,
    },
    /// Create a product
    Create {
        /// The tenant's own code for it, unique among live products
        #[arg(long)]
        sku: String,
        /// What people call it
        #[arg(long)]
        display_name: String,
        #[command(flatten)]
        fields: Fields,
        /// The id to give it, a UUID
        #[arg(long, value_name = "UUID")]
        id: Option<ProductId>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Change the fields that are named
    Update {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Another sku
        #[arg(long)]
        sku: Option<String>,
        /// Another display name
        #[arg(long)]
        display_name: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// Empty a field
        #[arg(long, value_enum, value_name = "FIELD")]
        clear: Vec<Clearable>,
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark a product as deleted; its sku may be used again
    Delete {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Delete this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Create and update many products by sku, from one JSON object a line
    Import(ImportArgs),
    /// Write every product as one JSON object a line, in the order of their skus
    Export(ExportArgs),
}

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

pub(crate) async fn run(session: &mut Session, command: ProductsCommand) -> Result<(), Failure> {
    let products = session.client.products();
    let product = match command {
        ProductsCommand::List { window, order } => {
            let list = products.list().show_deleted(order.show_deleted).order_by(order.order_by.unwrap_or_default());
            return session.output.list(list, &window).await;
        }
        ProductsCommand::Import(args) => return import::run(session, args).await,
        ProductsCommand::Export(args) => return export::run(session, args).await,
        ProductsCommand::Get { product, show_deleted } => match name(&product)? {
            Some(id) => products.get(id).show_deleted(show_deleted).send().await?,
            None => products.lookup(product).send().await?,
        },
        ProductsCommand::Create { sku, display_name, fields, id, writing } => {
            let mut request = products.create(fields.create(NewProduct::new(sku, display_name)));
            if let Some(id) = id {
                request = request.id(id);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        ProductsCommand::Update { product, sku, display_name, fields, clear, etag, writing } => {
            let patch = fields.patch(sku, display_name, &clear);
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --price \"12.50 EUR\""));
            }
            let mut request = products.update(find(&session.client, &product).await?, patch);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        ProductsCommand::Delete { product, etag, writing } => {
            let mut request = products.delete(find(&session.client, &product).await?);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
    };
    session.output.one(&product)
}

/// A text that begins like a name must be one; any other is a sku.
fn name(text: &str) -> Result<Option<ProductId>, Failure> {
    if text.starts_with("products/") { text.parse().map(Some).map_err(Failure::usage) } else { Ok(None) }
}

async fn find(client: &Client, text: &str) -> Result<ProductId, Failure> {
    match name(text)? {
        Some(id) => Ok(id),
        None => Ok(client.products().lookup(text).send().await?.id),
    }
}

impl Fields {
    fn create(self, product: NewProduct) -> NewProduct {
        let mut product = product
            .description(self.description.unwrap_or_default())
            .category(self.category.unwrap_or_default())
            .tags(self.tags)
            .quantity(self.quantity.unwrap_or_default())
            .attributes(self.attributes.unwrap_or_default());
        (product.price, product.cost) = (self.price, self.cost);
        product
    }

    fn patch(self, sku: Option<String>, display_name: Option<String>, clear: &[Clearable]) -> ProductPatch {
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
        patch
    }
}

fn money(money: Option<&Money>) -> String {
    money.map(ToString::to_string).unwrap_or_default()
}

impl Shown for Product {
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
