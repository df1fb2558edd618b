// java FormClient.java URL KEY PATH NAME TITLE: Apache HttpClient with its defaults sends one form.
import java.io.File;
import java.nio.charset.Charset;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.entity.ContentType;
import org.apache.http.entity.mime.HttpMultipartMode;
import org.apache.http.entity.mime.MultipartEntityBuilder;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

public class FormClient {
    public static void main(String[] given) throws Exception {
        HttpPost post = new HttpPost(given[0]);
        post.setHeader("X-API-Key", given[1]);
        post.setEntity(
            MultipartEntityBuilder.create()
                .setMode(HttpMultipartMode.BROWSER_COMPATIBLE)
                .setCharset(Charset.forName("UTF-8"))
                .addTextBody("title", given[4])
                .addBinaryBody("file", new File(given[2]), ContentType.APPLICATION_OCTET_STREAM, given[3])
                .build());
        try (CloseableHttpClient client = HttpClients.createDefault();
                CloseableHttpResponse answer = client.execute(post)) {
            System.out.println(EntityUtils.toString(answer.getEntity(), "UTF-8"));
        }
    }
}
