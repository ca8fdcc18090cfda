// By Java: java examples/Search.java http://127.0.0.1:8080 "deep learning books"

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

class Search {
    public static void main(String[] arguments) throws Exception {
        String gateway = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8080";
        String query = arguments.length > 1 ? arguments[1] : "deep learning books";
        String text = query.replace("\\", "\\\\").replace("\"", "\\\"");
        var request = HttpRequest.newBuilder(URI.create(gateway + "/search"))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\"query\": \"" + text + "\", \"k\": 5}"))
                .build();
        var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        var reply = client.send(request, BodyHandlers.ofString());
        if (reply.statusCode() != 200) {
            throw new IllegalStateException(reply.body()); // one sentence
        }
        System.out.println(reply.body()); // JSON: read it with the library that you have
    }
}
