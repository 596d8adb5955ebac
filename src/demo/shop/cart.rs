//! What can be bought, and a cart of it.

/// Pieces a cart holds at most, which also bounds the cookie.
pub(super) const CART_PIECES_MAX: u32 = 50;

/// What can be bought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) cents: u32,
}

pub(super) const SHELF: [Item; 6] = [
    Item { id: "tea", label: "Green tea", cents: 640 },
    Item { id: "bread", label: "Rye bread", cents: 420 },
    Item { id: "honey", label: "Salt & honey", cents: 780 },
    Item { id: "soap", label: "Olive soap", cents: 350 },
    Item { id: "candle", label: "Wax candle", cents: 590 },
    Item { id: "card", label: "Postcard", cents: 120 },
];

/// Items and how many of each, in the order they were first taken. Never more than [`CART_PIECES_MAX`] pieces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cart(Vec<(&'static Item, u32)>);

impl Cart {
    /// Items and how many of each.
    pub(super) fn lines(&self) -> &[(&'static Item, u32)] {
        &self.0
    }

    pub(super) fn pieces(&self) -> u32 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn cents(&self) -> u32 {
        self.0.iter().map(|(item, count)| item.cents * count).sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pieces() >= CART_PIECES_MAX
    }

    pub(super) fn add(&mut self, item: &'static Item) {
        if self.is_full() {
            return;
        }
        match self.0.iter_mut().find(|(held, _)| *held == item) {
            Some((_, count)) => *count += 1,
            None => self.0.push((item, 1)),
        }
    }

    pub(super) fn encode(&self) -> String {
        let lines = self.0.iter().map(|(item, count)| serde_json::json!([item.id, count])).collect();
        serde_json::Value::Array(lines).to_string()
    }

    /// `None` if `payload` is not what [`Self::encode`] writes.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let lines: Vec<(String, u32)> = serde_json::from_slice(payload).ok()?;
        let lines: Option<Vec<_>> = lines.into_iter().map(|(id, count)| Some((item(&id)?, count))).collect();
        let total = lines.iter().flatten().try_fold(0_u32, |sum, (_, count)| sum.checked_add(*count))?;
        (total <= CART_PIECES_MAX).then_some(Self(lines?))
    }
}

/// The item of this id.
pub(super) fn item(id: &str) -> Option<&'static Item> {
    SHELF.iter().find(|item| item.id == id)
}
