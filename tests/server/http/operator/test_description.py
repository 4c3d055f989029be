"""The description of the API: there with no network but the server's own."""

import re

from tests.support.operators import client


def test_page_is_made_of_the_server_s_own_files(shared_server):
    with client(shared_server) as browser:
        pages = [browser.get(path) for path in ("/docs", "/swagger")]
        assert [page.status_code for page in pages] == [200, 200]
        assert pages[0].text == pages[1].text
        linked = re.findall(r'(?:src|href|url)(?:=|: )["\']([^"\']+)', pages[0].text)
        assert len(linked) == 4
        for link in linked:
            assert link.startswith("/"), link
            assert browser.get(link).status_code == 200, link


def test_file_that_is_no_asset_is_404(shared_server):
    with client(shared_server) as browser:
        for path in ("/docs/assets/", "/docs/assets/absent", "/docs/assets/../main.py", "/docs/assets/%2e%2e/main.py"):
            assert browser.get(path).status_code == 404, path
