from typing import Any
async def load(tx: Any, book: Any) -> bool: return False
async def welcome(tx: Any, base: str) -> str: return ""
