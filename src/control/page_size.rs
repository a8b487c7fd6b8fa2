//! Sizes of pages.

use std::str::FromStr;

/// How many records a page holds at most: 1 to 100, 100 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u8);

impl Default for PageSize {
    fn default() -> Self {
        Self(MAX_PAGE_SIZE)
    }
}

impl TryFrom<u8> for PageSize {
    type Error = PageSizeError;

    fn try_from(size: u8) -> Result<Self, PageSizeError> {
        if (1..=MAX_PAGE_SIZE).contains(&size) { Ok(Self(size)) } else { Err(PageSizeError) }
    }
}

impl FromStr for PageSize {
    type Err = PageSizeError;

    fn from_str(text: &str) -> Result<Self, PageSizeError> {
        text.parse::<u8>().map_err(|_| PageSizeError).and_then(Self::try_from)
    }
}

/// A number is not a size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page holds 1 to {max} records", max = MAX_PAGE_SIZE)]
pub struct PageSizeError;

impl From<PageSize> for usize {
    fn from(size: PageSize) -> Self {
        size.0.into()
    }
}

const MAX_PAGE_SIZE: u8 = 100;
